// What a debate would be: who reads whom, and what it would take.

import { useMemo } from "preact/hooks";
import { compact, count, money, plural, range } from "../format";
import { Short } from "../text";
import { plainly } from "../odd";
import type { Checked } from "./form";

export function Preview({ checked, busy }: { checked: Checked; busy: boolean }) {
  const { agents, calls, tokens, usd } = checked;
  return (
    <div class={busy ? "preview stale" : "preview"} aria-busy={busy}>
      <Graph checked={checked} />
      <dl class="takes">
        <dt>Agents</dt><dd>{count(agents.length)}</dd>
        <dt>Calls</dt><dd>{range(...calls, count)}</dd>
        <dt>Tokens</dt><dd>{range(...tokens, compact)}</dd>
        <dt>Cost</dt><dd>{range(...usd, money)}</dd>
      </dl>
      {checked.unknown.length === 0 ? null : (
        <div class="small">
          <p class="label">Not known</p>
          <ul>{checked.unknown.slice(0, 12).map((what) => <li key={what}><Short text={what} most={200} /></li>)}</ul>
        </div>
      )}
      <details class="small" open={agents.length <= 12}>
        <summary>Who reads whom</summary>
        <ul class="reads">
          {reading(checked).slice(0, 40).map(({ name, model, reads }) => (
            <li key={name}>
              <strong><Short text={name} most={40} /></strong> <span class="soft"><Short text={model} most={60} /></span> reads{" "}
              {reads.length === 0 ? "nobody" : <Short text={reads.join(", ")} most={120} />}
            </li>
          ))}
          {agents.length > 40 ? <li class="soft">and {count(agents.length - 40)} more</li> : null}
        </ul>
      </details>
    </div>
  );
}

export function reading({ agents, edges }: Pick<Checked, "agents" | "edges">): { name: string; model: string; reads: string[] }[] {
  const reads = agents.map((): string[] => []);
  for (const [read, reader] of edges) {
    const who = agents[read];
    if (who !== undefined) reads[reader]?.push(who.name);
  }
  return agents.map((agent, i) => ({ ...agent, reads: reads[i]! }));
}

const NAMED = 40; // agents whose names still have room
const R = 5, PAD = 14;

function Graph({ checked }: { checked: Checked }) {
  return useMemo(() => {
    const { agents, edges, layout: { at, names } } = checked;
    if (at.length === 0) return null;
    const named = agents.length <= NAMED;
    const xs = at.map(([x]) => x), ys = at.map(([, y]) => y);
    const min = (of: number[]) => of.reduce((a, b) => Math.min(a, b)), max = (of: number[]) => of.reduce((a, b) => Math.max(a, b));
    const [left, right, top, bottom] = [min(xs), max(xs), min(ys), max(ys)];
    const side = named ? 62 : PAD, under = named ? 26 : PAD;
    const width = right - left + 2 * side, height = bottom - top + under + (names === "out" && named ? under : PAD);
    const there = new Set(edges.map(([u, v]) => u * agents.length + v));
    let lines = "", heads = "";
    for (const [u, v] of edges) {
      const from = at[u], to = at[v];
      if (from === undefined || to === undefined || u === v) continue;
      const both = there.has(v * agents.length + u);
      if (both && u > v) continue; // those that read each other are linked once
      const [dx, dy] = [to[0] - from[0], to[1] - from[1]], length = Math.hypot(dx, dy) || 1, [ex, ey] = [dx / length, dy / length];
      const tip = [to[0] - ex * (R + 2), to[1] - ey * (R + 2)] as const;
      lines += `M${(from[0] + ex * R).toFixed(1)} ${(from[1] + ey * R).toFixed(1)}L${tip[0].toFixed(1)} ${tip[1].toFixed(1)}`;
      if (both) continue;
      const wing = (side: number) => `${(tip[0] - ex * 7 + side * ey * 3.5).toFixed(1)} ${(tip[1] - ey * 7 - side * ex * 3.5).toFixed(1)}`;
      heads += `M${tip[0].toFixed(1)} ${tip[1].toFixed(1)}L${wing(1)}L${wing(-1)}Z`;
    }
    const [cx, cy] = [(left + right) / 2, (top + bottom) / 2];
    return (
      <svg
        class="drawn" viewBox={`${left - side} ${top - (names === "out" && named ? under : PAD)} ${width} ${height}`} width={width} height={height}
        role="img" aria-label={`Who reads whom: ${plural(agents.length, "agent")}, ${plural(edges.length, "edge")}`}
      >
        <path class="lines" d={lines} />
        <path class="heads" d={heads} />
        {at.map(([x, y], i) => <circle key={i} cx={x} cy={y} r={named ? R : 3} />)}
        {named ? at.map(([x, y], i) => {
          const out = names === "out" && agents.length > 2;
          const [dx, dy] = [x - cx, y - cy], far = Math.hypot(dx, dy) || 1;
          const anchor = !out || Math.abs(dx) < 0.35 * far ? "middle" : dx < 0 ? "end" : "start";
          const [tx, ty] = out ? [x + (dx / far) * 11, y + (dy / far) * 13 + 4] : [x, y + 19];
          const name = plainly(agents[i]?.name ?? "");
          return <text key={i} x={tx} y={ty} text-anchor={anchor}>{name.length > 13 ? `${name.slice(0, 12)}…` : name}</text>;
        }) : null}
      </svg>
    );
  }, [checked]);
}
