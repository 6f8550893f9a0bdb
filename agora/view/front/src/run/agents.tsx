// The agents of the picture, each with the answer it holds; and what is said of one that is looked at.

import type { VNode } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { Short } from "../text";
import { Chip } from "./chip";
import type { Picture } from "./geometry";
import type { Debate } from "./story";
import { list, type Votes } from "./votes";

// Where agents stand too close to be circles: a stroke away from the middle.
function outward({ width, height }: Picture, x: number, y: number): string {
  const dx = x - width / 2,
    dy = y - height / 2,
    long = Math.hypot(dx, dy) || 1;
  return `M0 0L${((dx / long) * 9).toFixed(1)} ${((dy / long) * 9).toFixed(1)}`;
}

// Each agent; what has not changed is the same node, which is not looked at again.
export function useNodes(
  debate: Debate,
  votes: Votes,
  picture: Picture,
  speaking: Set<string>,
  chosen: number,
  stop: number,
  dark: boolean, // its edges are not told
): VNode[] {
  const cache = useRef(new Map<number, { of: string; node: VNode }>());
  const degrees = useMemo(() => {
    const found = debate.agents.map(() => 0);
    for (const [, v] of debate.edges) found[v]!++;
    return found;
  }, [debate.agents, debate.edges]);
  return picture.points.map(([x, y], i) => {
    const agent = debate.agents[i] ?? "",
      standing = votes.now.get(agent),
      answer = standing?.turn?.answer ?? null;
    const mark = answer === null ? undefined : votes.marks.get(answer);
    const speaks = speaking.has(agent),
      absent = standing?.absent ?? false,
      reads = dark ? "" : `; reads ${degrees[i]!}`;
    const of = `${x} ${y} ${picture.r} ${agent} ${mark?.sign} ${mark?.index} ${answer} ${speaks} ${absent} ${i === chosen} ${i === stop} ${reads}`;
    const before = cache.current.get(i);
    if (before?.of === of) return before.node;
    const said =
      answer ??
      (standing?.turn?.why === "unparsed" ? "no answer could be read" : standing?.turn ? "no answer" : "no answer yet");
    const kind = mark !== undefined ? `a${mark.index % 8}` : "none";
    const { r } = picture;
    const node = (
      <g
        key={i}
        data-i={i}
        class={`agent ${kind} ${absent ? "absent" : ""} ${i === chosen ? "chosen" : ""}`}
        transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`}
        tabindex={i === stop ? 0 : -1}
        role="button"
        aria-pressed={i === chosen}
        aria-label={`${agent}: ${said.slice(0, 80)}${absent ? ", absent" : ""}${speaks ? ", speaks" : ""}${reads}`}
      >
        {speaks && <circle class="ring" r={r + Math.max(2.5, r * 0.36)} />}
        {r >= 2.5 ? <circle class="body" r={r} /> : <path class="tick" d={outward(picture, x, y)} />}
        {r >= 6.5 && mark !== undefined && (
          <text y={r * 0.36} font-size={r * (mark.sign.length > 1 ? 0.85 : 1.1)} text-anchor="middle">
            {mark.sign}
          </text>
        )}
        {r >= 2.5 && r < 12 && <circle class="reach" r={Math.max(r, Math.min(12, r + 5))} />}
      </g>
    );
    cache.current.set(i, { of, node });
    return node;
  });
}

export function About({ agent, votes, reads, readBy }: { agent: string; votes: Votes; reads: string[] | null; readBy: string[] }) {
  const held: { round: number; answer: string | null; why: "abstained" | "unparsed" | null }[] = [];
  votes.said.get(agent)?.forEach((turns) => {
    const final = turns?.findLast((turn) => votes.finals.has(turn.key) && turn.error === null);
    if (final !== undefined && (held.length === 0 || held.at(-1)!.answer !== final.answer))
      held.push({ round: final.round, answer: final.answer, why: final.why });
  });
  return (
    <>
      <b>
        <Short text={agent} most={80} />
      </b>{" "}
      {held.slice(-4).map(({ round, answer, why }) => (
        <span class="held" key={round}>
          <span class="soft">round {round}</span> <Chip answer={answer} why={why} marks={votes.marks} />
        </span>
      ))}
      <span class="soft">
        {reads === null ? (
          "whom it reads is told with each turn"
        ) : (
          <>
            <bdi>{reads.length > 0 ? `reads ${list(reads, 4)}` : "reads nobody"}</bdi>;{" "}
            <bdi>{readBy.length > 0 ? `read by ${list(readBy, 4)}` : "read by nobody"}</bdi>
          </>
        )}
      </span>
    </>
  );
}
