// Who spoke when: lanes by agent, a bar a turn; waits and failures can be seen, and all of it be read.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { plainly } from "../odd";
import { Short } from "../text";
import { axisOf, type Bar, type Lane, lanesOf } from "./ledger";
import { colourOf, type Marks } from "./marks";
import { plural, seconds } from "./say";
import type { Debate, Story } from "./story";
import { marksIn, MODERATOR } from "./turns";

const LANE = 22, BAR = 14, HEAD = 20, MANY = 500; // pixels; bars beyond which those of one colour are one shape

export function Timeline({ story, debate, most }: { story: Story; debate: Debate; most: number }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => setWidth(element.clientWidth);
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const busy = debate.speaking.size > 0;
  const [now, setNow] = useState(() => Date.now() / 1_000);
  useEffect(() => {
    if (!busy) return;
    const timer = setInterval(() => setNow(Date.now() / 1_000), 1_000);
    return () => clearInterval(timer);
  }, [busy]);
  const lanes = useMemo(() => lanesOf(story, debate, now), [debate, debate.turns.length, story.calls.length, story.events.length, busy ? now : 0]);
  const all = useMemo(() => {
    if (lanes.length <= most + 1) return lanes;
    const busiest = new Set([...lanes].filter((lane) => lane.kind === "agent").sort((a, b) => b.busy - a.busy).slice(0, most));
    return lanes.filter((lane) => lane.kind === "moderator" || busiest.has(lane));
  }, [lanes, most]);
  const words = useMemo(() => lanes.map(inWords), [lanes]);
  const bars = lanes.reduce((sum, lane) => sum + lane.bars.length, 0);
  if (bars === 0) return <div ref={box} class="timeline"><p class="empty">No model has been asked.</p></div>;
  return (
    <div ref={box} class="timeline">
      {width > 0 ? <Lanes story={story} debate={debate} lanes={all} width={width} merged={all.reduce((sum, lane) => sum + lane.bars.length, 0) > MANY} /> : null}
      <p class="soft legend">A bar is a turn, in the colour of its answer. Struck out: failed. Pale within: waited to try again.{lanes.length > all.length ? ` The ${all.length} that took longest; ${plural(lanes.length - all.length, "other")} are not drawn.` : ""}</p>
      <details><summary>In words</summary>
        <ul>{all.map((lane) => <li key={lane.name}><b>{lane.kind === "moderator" ? "moderator" : <Short text={lane.name} most={60} />}</b>: {words[lanes.indexOf(lane)]}</li>)}</ul>
      </details>
    </div>
  );
}

function inWords(lane: Lane): string {
  const { bars } = lane;
  if (bars.length === 0) return "not asked.";
  const longest = Math.max(...bars.map((bar) => bar.to - bar.from)), failed = bars.filter((bar) => bar.failed).length;
  const waited = bars.reduce((sum, bar) => sum + bar.waits.reduce((s, [a, b]) => s + b - a, 0), 0);
  return `${plural(bars.length, lane.kind === "moderator" ? "call" : "turn")}, ${seconds(lane.busy)} in all, ${seconds(longest)} at most` +
    `${waited > 0 ? `, ${seconds(waited)} of it waiting to try again` : ""}${failed > 0 ? `, ${failed} failed` : ""}.`;
}

function Lanes(props: { story: Story; debate: Debate; lanes: Lane[]; width: number; merged: boolean }) {
  const { story, debate, lanes, width, merged } = props;
  const marks = marksIn(debate);
  const left = width < 500 ? 76 : 130, room = Math.max(40, width - left - 8), height = HEAD + lanes.length * LANE + 4;
  return useMemo(() => {
    const axis = axisOf(lanes.flatMap((lane) => lane.bars));
    const x = (time: number) => left + axis.at(time) * room;
    const ends = story.events.filter((event) => event.kind === "round" && event.path === debate.path).map((event) => event.at);
    let free = -Infinity; // where the next label has room
    const ticks = axis.ticks.filter((tick) => {
      const at = left + tick.at * room, fits = at >= free && at < width - 24;
      if (fits) free = at + 54;
      return fits;
    });
    const label = `Time of ${plural(lanes.length, "lane")} over ${seconds(axis.span)}; in words below.`;
    return (
      <svg width={width} height={height} role="img" aria-label={label}>
        {ticks.map((tick) => (
          <g key={tick.at}><line class="tick" x1={left + tick.at * room} x2={left + tick.at * room} y1={HEAD - 4} y2={height} /><text class="time" x={left + tick.at * room + 3} y={12}>{tick.seconds === 0 ? "0" : seconds(tick.seconds)}</text></g>
        ))}
        {ends.length <= 60 ? ends.map((at, i) => <line key={i} class="round" x1={x(at)} x2={x(at)} y1={HEAD} y2={height} />) : null}
        {axis.breaks.map((gap) => (
          <g key={gap.at}><line class="gap" x1={left + gap.at * room - 5} x2={left + gap.at * room - 5} y1={HEAD - 4} y2={height} /><title>nothing for {seconds(gap.left)}</title></g>
        ))}
        {lanes.map((lane, i) => {
          const top = HEAD + i * LANE;
          return (
            <g key={lane.name} class="lane">
              <text x={left - 8} y={top + 15} text-anchor="end">{short(lane.name === MODERATOR ? "moderator" : lane.name, width < 500 ? 10 : 18)}</text>
              <line x1={left} x2={width - 8} y1={top + LANE - 0.5} y2={top + LANE - 0.5} />
              {merged
                ? shapes(lane, marks, x, top + 4)
                : lane.bars.map((bar, j) => <BarOf key={bar.key ?? j} bar={bar} x={x} y={top + 4} fill={fillOf(bar, marks)} sign={bar.answer === null ? "" : (marks.get(bar.answer)?.sign ?? "")} />)}
            </g>
          );
        })}
      </svg>
    );
  }, [lanes, width, merged, marks.size, story.events.length]);
}

const fillOf = (bar: Bar, marks: Marks): string => (bar.answer === null ? "var(--soft)" : colourOf(marks.get(bar.answer)));

// The bars of a lane, one shape for all of a colour: thousands of them are no more to draw than a few.
function shapes(lane: Lane, marks: Marks, x: (time: number) => number, y: number) {
  const paths = new Map<string, string>();
  for (const bar of lane.bars) {
    const fill = bar.failed ? "" : fillOf(bar, marks), from = x(bar.from).toFixed(1), wide = Math.max(0.7, x(bar.to) - x(bar.from)).toFixed(1);
    paths.set(fill, `${paths.get(fill) ?? ""}M${from} ${y}h${wide}v${BAR}h-${wide}z`);
  }
  return [...paths].map(([fill, d]) => <path key={fill} class={fill === "" ? "strike" : undefined} d={d} style={fill === "" ? undefined : { fill }} />);
}

const short = (text: string, most: number): string => {
  const plain = plainly(text);
  return plain.length > most ? `${plain.slice(0, most - 1)}…` : plain;
};

function BarOf({ bar, x, y, fill, sign }: { bar: Bar; x: (time: number) => number; y: number; fill: string; sign: string }) {
  const from = x(bar.from), wide = Math.max(1.5, x(bar.to) - from);
  return (
    <g class={`turn${bar.failed ? " failed" : ""}${bar.live ? " live" : ""}`}>
      <title>{plainly(bar.label)}: {seconds(bar.to - bar.from)}{bar.failed ? ", failed" : ""}{sign !== "" ? `, ${sign} ${short(bar.answer!, 80)}` : ""}</title>
      <rect x={from} y={y} width={wide} height={BAR} rx={1.5} style={bar.failed ? undefined : { fill }} />
      {bar.waits.map(([a, b]) => <rect key={a} class="wait" x={x(a)} y={y + 3} width={Math.max(1, x(b) - x(a))} height={BAR - 6} />)}
      {bar.failed ? <path class="strike" d={`M${from} ${y + BAR}L${from + Math.max(8, wide)} ${y}`} /> : null}
      {sign !== "" && wide > 8 + 7 * sign.length && bar.waits.length === 0 ? <text x={from + 4} y={y + 10.5}>{sign}</text> : null}
    </g>
  );
}
