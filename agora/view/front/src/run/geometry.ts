// Where the picture of a graph has its agents, lines, arrow heads and names, in pixels of the space that there is.

import type { Debate } from "./story";

export type Point = readonly [x: number, y: number];
export interface Line {
  u: number;
  v: number;
  both: boolean;
  bend: number;
}
export interface Label {
  i: number;
  x: number;
  y: number;
  anchor: "start" | "middle" | "end";
  text: string;
}
export interface Picture {
  points: Point[];
  r: number;
  width: number;
  height: number;
  lines: Line[];
  labels: Label[];
  scale: number;
}

const FONT = 12.5,
  GLYPH = 6.6; // of names: size, and about how wide a letter is
const ROOM = 16; // pixels from one row of names to the next
const HEADS = 1_500; // lines up to which they have arrow heads
const NAMED = 150; // agents up to which a place for each name is looked for
const name = (text: string): string => (text.length > 16 ? `${text.slice(0, 15)}…` : text);

// One line for two that read each other.
export function linesOf(debate: Debate): Line[] {
  const n = debate.agents.length,
    there = new Set(debate.edges.map(([u, v]) => u * n + v));
  return debate.edges.flatMap(([u, v]) => {
    const both = there.has(v * n + u);
    return u === v || (both && u > v) ? [] : [{ u, v, both, bend: 0 }];
  });
}

// Fitted to a width, and no higher than `most`; `zoom` times as large.
export function draw(debate: Debate, lines: readonly Line[], space: number, most: number, zoom = 1): Picture {
  const at: readonly Point[] = debate.layout?.at ?? ring(debate.agents.length),
    where = debate.layout?.names ?? "out";
  const xs = at.map(([x]) => x),
    ys = at.map(([, y]) => y),
    n = at.length;
  const left = least(xs),
    top = least(ys),
    wide = Math.max(1, -least(xs.map((x) => -x)) - left),
    tall = -least(ys.map((y) => -y)) - top;
  const longest = Math.max(...debate.agents.slice(0, NAMED).map((agent) => name(agent).length), 3) * GLYPH;
  const names = n <= NAMED ? Math.min(longest, where === "out" ? 110 : 60) : 0;
  const side = Math.min(space * 0.26, names + 16),
    over = 30;
  let scale = Math.min((space - 2 * side) / wide, tall > 0 ? (most - 2 * over) / tall : Infinity, 1.25) * zoom;
  if (!(scale > 0)) scale = 1;
  const width = Math.max(space, wide * scale + 2 * side),
    height = tall * scale + 2 * over;
  const shift = (width - wide * scale) / 2;
  const points = at.map(([x, y]): Point => [shift + (x - left) * scale, over + (y - top) * scale]);
  const r = Math.max(1.6, Math.min(11, 0.42 * nearest(points)));
  const bent = where === "out" || lines.length * n > 6_000 ? [...lines] : lines.map((line) => around(line, points, r));
  return { points, r, width, height, lines: bent, labels: labelled(debate.agents, points, r, where, width, height), scale };
}

const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b), values.length > 0 ? Infinity : 0);
const ring = (n: number): Point[] =>
  Array.from({ length: n }, (_, i) => {
    const turn = (2 * Math.PI * i) / n - Math.PI / 2,
      radius = Math.max(100, n * 5);
    return [radius * Math.cos(turn), radius * Math.sin(turn)];
  });

// About how far agents stand apart; of many, of some of them.
function nearest(points: readonly Point[]): number {
  const every = Math.ceil(points.length / 60);
  let found = 60;
  for (let i = 0; i < points.length; i += every)
    for (let j = 0; j < points.length; j++)
      if (i !== j) found = Math.min(found, Math.hypot(points[i]![0] - points[j]![0], points[i]![1] - points[j]![1]));
  return found;
}

// From rim to rim, with the control point of its bow.
export function curve(line: Line, points: readonly Point[], r: number): [Point, Point, Point] {
  const a = points[line.u]!,
    b = points[line.v]!;
  const c: Point = [(a[0] + b[0]) / 2 - (b[1] - a[1]) * line.bend, (a[1] + b[1]) / 2 + (b[0] - a[0]) * line.bend];
  return [towards(a, c, r + 2), c, towards(b, c, r + 2)];
}
function towards(from: Point, to: Point, by: number): Point {
  const long = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  return [from[0] + ((to[0] - from[0]) / long) * Math.min(by, long), from[1] + ((to[1] - from[1]) / long) * Math.min(by, long)];
}
export const along = ([a, c, b]: [Point, Point, Point], t: number): Point => {
  const s = 1 - t;
  return [s * s * a[0] + 2 * s * t * c[0] + t * t * b[0], s * s * a[1] + 2 * s * t * c[1] + t * t * b[1]];
};

// A line that would run through an agent goes around it.
function around(line: Line, points: readonly Point[], r: number): Line {
  for (const bend of [0, 0.14, -0.14, 0.24, -0.24, 0.38, -0.38]) {
    const bow = curve({ ...line, bend }, points, r);
    const free = points.every((p, i) => {
      if (i === line.u || i === line.v) return true;
      for (let t = 0.06; t < 1; t += 0.08) {
        const q = along(bow, t);
        if (Math.hypot(p[0] - q[0], p[1] - q[1]) < r + 3) return false;
      }
      return true;
    });
    if (free) return bend === 0 ? line : { ...line, bend };
  }
  return line;
}

const f = (x: number): number => Math.round(x * 10) / 10;

// All lines as one path, and all arrow heads as another, empty where there are too many to be seen.
export function paths(lines: readonly Line[], picture: Picture, heads = lines.length <= HEADS): { stroke: string; fill: string } {
  let stroke = "",
    fill = "";
  const ends = picture.points.map(() => 0);
  for (const { u, v } of heads ? lines : []) (ends[u]!++, ends[v]!++);
  // as large as there is room for around the busiest agent; where there is none and all go both ways, they say nothing
  const room = (5 * (picture.r + 2)) / ends.reduce((a, b) => Math.max(a, b), 1),
    size = Math.max(3, Math.min(7, picture.r, room));
  if (room < 2.5 && lines.every((line) => line.both)) heads = false;
  for (const line of lines) {
    const bow = curve(line, picture.points, picture.r),
      [a, c, b] = bow;
    stroke +=
      line.bend === 0
        ? `M${f(a[0])} ${f(a[1])}L${f(b[0])} ${f(b[1])}`
        : `M${f(a[0])} ${f(a[1])}Q${f(c[0])} ${f(c[1])} ${f(b[0])} ${f(b[1])}`;
    if (!heads) continue;
    fill += head(c, b, size);
    if (line.both) fill += head(c, a, size);
  }
  return { stroke, fill };
}
function head(from: Point, tip: Point, size: number): string {
  const long = Math.hypot(tip[0] - from[0], tip[1] - from[1]) || 1;
  const dx = ((tip[0] - from[0]) / long) * size,
    dy = ((tip[1] - from[1]) / long) * size;
  const x = tip[0] - dx,
    y = tip[1] - dy;
  return `M${f(tip[0])} ${f(tip[1])}L${f(x - dy * 0.45)} ${f(y + dx * 0.45)}L${f(x + dy * 0.45)} ${f(y - dx * 0.45)}Z`;
}

// Names where there is room for them: on the outer side, or below, above, beside.
function labelled(
  agents: readonly string[],
  points: readonly Point[],
  r: number,
  where: string,
  width: number,
  height: number,
): Label[] {
  if (points.length > NAMED) return [];
  const taken = points.map(([x, y]): [number, number, number, number] => [x - r, y - r, x + r, y + r]);
  const cx = width / 2,
    cy = height / 2,
    found: Label[] = [];
  points.forEach(([x, y], i) => {
    const text = name(agents[i] ?? ""),
      wide = text.length * GLYPH;
    const right = (): Label => ({ i, x: x + r + 5, y: y + FONT / 3, anchor: "start", text });
    const beside = (): Label => ({ i, x: x - r - 5, y: y + FONT / 3, anchor: "end", text });
    const below = (): Label => ({ i, x, y: y + r + FONT, anchor: "middle", text });
    const above = (): Label => ({ i, x, y: y - r - 5, anchor: "middle", text });
    const angle = Math.atan2(y - cy, x - cx),
      flat = Math.abs(Math.cos(angle)) > 0.25;
    const out = flat ? (x > cx ? [right, y > cy ? below : above] : [beside, y > cy ? below : above]) : y > cy ? [below] : [above];
    for (const place of where === "out" ? out : [below, above, right, beside]) {
      const label = place();
      const from = label.anchor === "start" ? label.x : label.anchor === "end" ? label.x - wide : label.x - wide / 2;
      const box: [number, number, number, number] = [from, label.y - ROOM + 5, from + wide, label.y + 3];
      if (
        from < 0 ||
        from + wide > width ||
        taken.some(([a, b, c, d], k) => k !== i && box[0] < c && a < box[2] && box[1] < d && b < box[3])
      )
        continue;
      taken.push(box);
      found.push(label);
      break;
    }
  });
  return found;
}

// Whether there are edges that are not told: of more than 20,000 none is, and so many need so many agents.
export const untold = (debate: Debate): boolean =>
  debate.edges.length === 0 && debate.agents.length > 141 && debate.turns.some((turn) => turn.reads.length > 1);

// The graph in words.
export function described(debate: Debate): string {
  const n = debate.agents.length,
    edges = debate.edges.length;
  const agents = `${n.toLocaleString("en")} ${n === 1 ? "agent" : "agents"}`;
  if (n < 2) return agents;
  if (edges === 0) return `${agents}, ${untold(debate) ? "more edges than are told" : "nobody reads anybody"}`;
  const reads = new Array<number>(n).fill(0),
    read = new Array<number>(n).fill(0);
  for (const [u, v] of debate.edges) (reads[v]!++, read[u]!++);
  const mutual = linesOf(debate).every((line) => line.both);
  const shape =
    edges === n * (n - 1)
      ? "complete"
      : reads.every((k) => k === 2) && mutual && n > 3
        ? "ring"
        : mutual && edges === 2 * (n - 1) && Math.max(...reads) === n - 1
          ? "star"
          : `each reads ${Math.min(...reads) === Math.max(...reads) ? reads[0] : `${(edges / n).toFixed(1)} on average`}`;
  return `${agents}, ${edges.toLocaleString("en")} edges, ${shape}`;
}
