// The picture of who reads whom: agents with the answers they hold, and messages on their way.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { About, useNodes } from "./agents";
import { Dots, type Reading } from "./dots";
import { described, draw, linesOf, paths, untold, type Line, type Picture } from "./geometry";
import type { Debate } from "./story";
import type { Votes } from "./votes";
import "./graph.css";

interface Props {
  debate: Debate;
  votes: Votes;
  selected: string | null;
  onSelect: (agent: string | null) => void;
  readings: Reading[]; // what is being read just now
  strong: Reading | null; // what the last turn had read; null where nothing moves
}

export function Graph({ debate, votes, selected, onSelect, readings, strong }: Props) {
  const box = useRef<HTMLDivElement>(null),
    layer = useRef<SVGGElement>(null),
    dots = useRef<Dots | null>(null);
  const [space, setSpace] = useState(0);
  const [zoom, setZoom] = useState(1);
  const [near, setNear] = useState<number | null>(null); // pointed at, or focused
  const [stop, setStop] = useState(0); // the agent that Tab comes to
  const { agents, edges, layout } = debate;

  useLayoutEffect(() => {
    const found = box.current;
    if (found === null) return;
    const seen = new ResizeObserver(() => setSpace(Math.round(found.clientWidth)));
    seen.observe(found);
    setSpace(Math.round(found.clientWidth));
    return () => seen.disconnect();
  }, []);

  const lines = useMemo(() => linesOf(debate), [agents, edges]);
  // nothing is drawn before it is known how wide
  const picture = useMemo(
    () => (space === 0 ? NOWHERE : draw(debate, lines, space, 520, zoom)),
    [agents, lines, layout, space, zoom],
  );
  const drawn = useMemo(() => paths(picture.lines, picture), [picture]);
  const between = useMemo(() => {
    const found = new Map<number, Line>();
    for (const line of picture.lines) found.set(line.u * agents.length + line.v, line);
    return (u: number, v: number): Line =>
      found.get(u * agents.length + v) ?? found.get(v * agents.length + u) ?? { u, v, both: false, bend: 0 };
  }, [picture]);
  const dark = useMemo(() => untold(debate), [edges, edges.length === 0 ? debate : null]);
  const text = useMemo(() => described(debate), [agents, edges, dark]);

  useEffect(() => {
    if (layer.current === null) return;
    const mine = (dots.current = new Dots(layer.current));
    return () => mine.clear();
  }, [picture]);
  useEffect(() => {
    if (readings.length > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches)
      dots.current?.send(readings, between, picture);
  }, [readings]);

  const chosen = selected === null ? -1 : agents.indexOf(selected);
  const shown = near ?? (chosen >= 0 ? chosen : null);
  const touching = useMemo(() => {
    if (shown === null) return null;
    const reads: number[] = [],
      readBy: number[] = [];
    for (const [u, v] of edges) {
      if (v === shown) reads.push(u);
      if (u === shown) readBy.push(v);
    }
    return {
      reads,
      readBy,
      ...paths(lines.length === 0 ? [] : picture.lines.filter((line) => line.u === shown || line.v === shown), picture, true),
    };
  }, [shown, picture, edges]);
  const carried = useMemo(
    () =>
      strong === null
        ? null
        : paths(
            strong.read
              .map((u) => ({ ...between(u, strong.reader), both: false }))
              .map((line) => (line.v === strong.reader ? line : turned(line))),
            picture,
            true,
          ),
    [strong, between],
  );

  const speaking = new Set([...debate.speaking.values()].map(({ agent }) => agent));
  const nodes = useNodes(debate, votes, picture, speaking, chosen, stop, dark);
  const at = (event: Event): number | null => {
    const found = (event.target as Element).closest<SVGGElement>("[data-i]")?.dataset.i;
    return found === undefined ? null : Number(found);
  };
  const focus = (i: number): void => {
    setStop(i);
    box.current?.querySelector<SVGGElement>(`[data-i="${i}"]`)?.focus({ preventScroll: zoom === 1 });
  };
  const keys = (event: KeyboardEvent): void => {
    const i = at(event);
    if (i === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const n = agents.length;
    const to: Record<string, number> = {
      ArrowRight: (i + 1) % n,
      ArrowDown: (i + 1) % n,
      ArrowLeft: (i + n - 1) % n,
      ArrowUp: (i + n - 1) % n,
      Home: 0,
      End: n - 1,
    };
    const next = to[event.key];
    if (next !== undefined) focus(next);
    else if (event.key === "Enter" || event.key === " ") onSelect(i === chosen ? null : (agents[i] ?? null));
    else return;
    event.preventDefault();
  };
  const scaled = (by: number): void => {
    const next = by === 0 ? 1 : Math.max(1, Math.min(zoom * by, 7_000 / Math.max(1, space)));
    const found = box.current;
    if (found !== null && next !== zoom) {
      // what is in the middle stays there; at first that is an agent, not the empty middle of a circle
      const [ax, ay] = picture.points[Math.max(0, chosen)] ?? [0, 0];
      const x = zoom === 1 ? ax / picture.width : (found.scrollLeft + found.clientWidth / 2) / found.scrollWidth;
      const y = zoom === 1 ? ay / picture.height : (found.scrollTop + found.clientHeight / 2) / found.scrollHeight;
      setZoom(next);
      requestAnimationFrame(() =>
        found.scrollTo(x * found.scrollWidth - found.clientWidth / 2, y * found.scrollHeight - found.clientHeight / 2),
      );
    }
  };
  const labels = picture.labels.filter(({ i }) => i !== shown);
  const extra = shown ?? (speaking.size === 1 ? agents.indexOf([...speaking][0]!) : null);
  const named = shown === null && extra !== null && picture.labels.some(({ i }) => i === extra) ? null : extra;

  return (
    <figure class="graph">
      <figcaption>
        <h2>Who reads whom</h2>
        <span class="soft">{text}</span>
      </figcaption>
      <div class="frame">
        {(picture.scale < 0.7 || zoom > 1) && (
          <span class="zoom">
            <button type="button" aria-label="Smaller" disabled={zoom === 1} onClick={() => scaled(1 / 1.6)}>
              −
            </button>
            <button type="button" aria-label="Larger" onClick={() => scaled(1.6)}>
              +
            </button>
            {zoom > 1 && (
              <button type="button" onClick={() => scaled(0)}>
                Fit
              </button>
            )}
          </span>
        )}
        <div
          class="plane"
          ref={box}
          tabIndex={zoom > 1 ? 0 : undefined}
          role={zoom > 1 ? "region" : undefined}
          aria-label={zoom > 1 ? "The graph, enlarged" : undefined}
        >
          <svg
            width={picture.width}
            height={picture.height}
            viewBox={`0 0 ${picture.width.toFixed(0)} ${picture.height.toFixed(0)}`}
            role="group"
            aria-label={text}
            class={`${shown !== null ? "looking" : ""} ${lines.length > 1_500 ? "many" : ""}`}
            onPointerOver={(event) => setNear(at(event))}
            onPointerLeave={() => setNear(null)}
            onFocusIn={(event) => {
              const i = at(event);
              setNear(i);
              if (i !== null) setStop(i);
            }}
            onFocusOut={() => setNear(null)}
            onClick={(event) => {
              const i = at(event);
              onSelect(i === null || i === chosen ? null : (agents[i] ?? null));
            }}
            onKeyDown={keys}
          >
            <path class="edge" d={drawn.stroke} />
            <path class="head" d={drawn.fill} />
            {carried !== null && (
              <>
                <path class="edge carried" d={carried.stroke} />
                <path class="head carried" d={carried.fill} />
              </>
            )}
            {touching !== null && (
              <>
                <path class="edge touching" d={touching.stroke} />
                <path class="head touching" d={touching.fill} />
              </>
            )}
            <g class="dots" ref={layer} aria-hidden="true" />
            <g>{nodes}</g>
            <g class="names" aria-hidden="true">
              {labels.map((label) => (
                <text
                  key={label.i}
                  x={label.x}
                  y={label.y}
                  text-anchor={label.anchor}
                  class={speaking.has(agents[label.i]!) ? "speaks" : undefined}
                >
                  {label.text}
                </text>
              ))}
              {named !== null && named >= 0 && <Name i={named} agents={agents} picture={picture} />}
            </g>
          </svg>
        </div>
      </div>
      <p class="about">
        {shown === null || touching === null ? (
          <span class="soft">Choose an agent to see whom it reads. A ring: it speaks. Dashed: absent.</span>
        ) : (
          <About
            agent={agents[shown] ?? ""}
            votes={votes}
            reads={dark ? null : touching.reads.map((i) => agents[i]!)}
            readBy={touching.readBy.map((i) => agents[i]!)}
          />
        )}
      </p>
    </figure>
  );
}

const NOWHERE: Picture = { points: [], r: 0, width: 1, height: 1, lines: [], labels: [], scale: 1 };
const turned = (line: Line): Line => ({ u: line.v, v: line.u, both: false, bend: -line.bend });

function Name({ i, agents, picture }: { i: number; agents: readonly string[]; picture: Picture }) {
  const [x, y] = picture.points[i] ?? [0, 0],
    placed = picture.labels.find((label) => label.i === i);
  const text = agents[i] ?? "",
    short = text.length > 30 ? `${text.slice(0, 29)}…` : text;
  const anchor = placed?.anchor ?? (x < 90 ? "start" : x > picture.width - 90 ? "end" : "middle");
  return (
    <text
      class="strong"
      x={placed?.x ?? x}
      y={placed?.y ?? (y < 30 ? y + picture.r + 16 : y - picture.r - 7)}
      text-anchor={anchor}
    >
      {placed?.text ?? short}
    </text>
  );
}
