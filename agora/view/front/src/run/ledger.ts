// What a debate took by agent and round, and when: sums that know what is not known, and an axis of time without its gaps.

import { spending, type Debate, type Spent, type Story } from "./story";
import { MODERATOR, prefixOf, retriesOf } from "./turns";

export type Measure = "usd" | "tokensIn" | "tokensOut" | "seconds" | "calls";
export interface Sum { known: number; unknown: boolean; any: boolean } // any: something was counted

export const sumOf = (spent: readonly Spent[], measure: Measure): Sum => {
  const sum: Sum = { known: 0, unknown: false, any: spent.length > 0 };
  for (const one of spent) {
    const value = one[measure];
    if (value === null) sum.unknown = true;
    else sum.known += value;
  }
  return sum;
};

export interface Row { name: string; kind: "agent" | "moderator" | "rest"; cells: Sum[]; total: Sum }
export interface Ledger { rounds: number[]; rows: Row[]; totals: Sum[]; total: Sum }

export const RESTING = "\0rest";

// A row an agent, the moderator after them, then those beyond the dearest `most` as one; columns are rounds.
export function ledgerOf(story: Story, debate: Debate, measure: Measure, most: number): Ledger {
  const entries = spending(story, debate);
  const rounds = [...new Set([...entries.map((entry) => entry.round), ...debate.rounds.map((round) => round.index)])].sort((a, b) => a - b);
  const byAgent = new Map<string, Map<number, Spent[]>>();
  for (const name of debate.agents) byAgent.set(name, new Map());
  for (const { agent, round, spent } of entries) {
    let row = byAgent.get(agent);
    if (row === undefined) byAgent.set(agent, (row = new Map()));
    const cell = row.get(round);
    if (cell === undefined) row.set(round, [spent]);
    else cell.push(spent);
  }
  const line = (name: string, kind: Row["kind"], of: readonly Map<number, Spent[]>[]): Row => {
    const cells = rounds.map((round) => of.flatMap((row) => row.get(round) ?? []));
    return { name, kind, cells: cells.map((cell) => sumOf(cell, measure)), total: sumOf(cells.flat(), measure) };
  };
  const agents = [...byAgent].filter(([name]) => name !== MODERATOR);
  const rows = agents.map(([name, row]) => line(name === "" ? "(other calls)" : name, "agent", [row]));
  let shown = rows;
  if (rows.length > most) {
    const order = rows.map((row, i) => ({ row, i })).sort((a, b) => b.row.total.known - a.row.total.known || a.i - b.i);
    const dear = new Set(order.slice(0, most).map(({ i }) => i));
    const rest = agents.filter((_, i) => !dear.has(i));
    shown = [...rows.filter((_, i) => dear.has(i)), line(String(rest.length), "rest", rest.map(([, row]) => row))];
  }
  const moderator = byAgent.get(MODERATOR);
  const all = [...byAgent.values()], sums = line("", "rest", all);
  return { rounds, rows: moderator === undefined ? shown : [...shown, line(MODERATOR, "moderator", [moderator])], totals: sums.cells, total: sums.total };
}

export interface Bar { from: number; to: number; key: string | null; answer: string | null; failed: boolean; live: boolean; waits: [number, number][]; label: string }
export interface Lane { name: string; kind: "agent" | "moderator"; bars: Bar[]; busy: number }

// Who spoke when, a lane an agent, in the debate's order; the moderator's last.
export function lanesOf(story: Story, debate: Debate, now: number): Lane[] {
  const lanes = new Map<string, Lane>(debate.agents.map((name) => [name, { name, kind: "agent", bars: [], busy: 0 }]));
  const retries = retriesOf(story, debate);
  for (const turn of debate.turns) {
    const from = turn.began ?? turn.call?.begun ?? null;
    if (from === null || turn.kept) continue;
    lanes.get(turn.agent)?.bars.push({
      from, to: Math.max(from, turn.at), key: turn.key, answer: turn.answer, failed: turn.error !== null, live: false,
      waits: (retries.get(turn.key) ?? []).map((retry) => [retry.at, Math.min(turn.at, retry.at + retry.wait)]), label: `round ${turn.round}, ${turn.phase}`,
    });
  }
  for (const one of debate.speaking.values())
    lanes.get(one.agent)?.bars.push({ from: one.since, to: Math.max(one.since, now), key: null, answer: null, failed: false, live: true, waits: [], label: `round ${one.round}, ${one.phase}` });
  const prefix = `${prefixOf(debate)}${MODERATOR}/`, moderator: Lane = { name: MODERATOR, kind: "moderator", bars: [], busy: 0 };
  for (const call of story.calls)
    if (call.path.startsWith(prefix))
      moderator.bars.push({ from: call.begun, to: call.begun + call.seconds, key: null, answer: null, failed: call.error !== null, live: false, waits: [], label: call.path.slice(prefix.length) });
  const all = [...lanes.values(), ...(moderator.bars.length > 0 ? [moderator] : [])];
  for (const lane of all) lane.busy = lane.bars.reduce((sum, bar) => sum + bar.to - bar.from, 0);
  return all;
}

export interface Axis { at: (time: number) => number; breaks: { at: number; left: number }[]; ticks: { at: number; seconds: number }[]; span: number }

const CUT = 0.02; // share of the axis that a gap takes which is cut out

// Time on a line from 0 to 1. Where nothing went on for long (a run that was resumed a day later) the line is cut.
export function axisOf(bars: readonly { from: number; to: number }[]): Axis {
  const sorted = [...bars].sort((a, b) => a.from - b.from);
  const busy: [number, number][] = [];
  for (const { from, to } of sorted) {
    const last = busy.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else busy.push([from, to]);
  }
  const begin = busy[0]?.[0] ?? 0, end = busy.at(-1)?.[1] ?? 1;
  const worked = busy.reduce((sum, [a, b]) => sum + b - a, 0), long = Math.max(1, worked * 0.5);
  const stretches: [number, number][] = []; // what is shown to scale
  for (const [from, to] of busy) {
    const last = stretches.at(-1);
    if (last === undefined || from - last[1] > long) stretches.push([from, to]);
    else last[1] = to;
  }
  if (stretches.length === 0) stretches.push([0, 1]);
  const gaps = stretches.length - 1, scaled = stretches.reduce((sum, [a, b]) => sum + b - a, 0) || 1;
  const room = Math.max(0.1, 1 - CUT * gaps), starts: number[] = [];
  let x = 0;
  for (const [from, to] of stretches) {
    starts.push(x);
    x += ((to - from) / scaled) * room + (1 - room) / Math.max(1, gaps);
  }
  const at = (time: number): number => {
    let i = stretches.length - 1;
    while (i > 0 && time < stretches[i]![0]) i--;
    const [from, to] = stretches[i]!;
    return Math.min(1, Math.max(0, starts[i]! + ((Math.min(Math.max(time, from), to) - from) / scaled) * room));
  };
  const breaks = stretches.slice(1).map(([from], i) => ({ at: starts[i + 1]!, left: from - stretches[i]![1] }));
  const step = nice(scaled / 5), ticks = [];
  const [first, until] = stretches[0]!;
  for (let k = 0; first + k * step <= until + 1e-9 && k < 50; k++) ticks.push({ at: at(first + k * step), seconds: k * step });
  return { at, breaks, ticks, span: end - begin };
}

// 1, 2 or 5 times a power of ten, or a whole part of minutes: no less than what is asked for.
export function nice(least: number): number {
  if (!(least > 0)) return 1;
  if (least > 20) return [30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400].find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999)!;
}
