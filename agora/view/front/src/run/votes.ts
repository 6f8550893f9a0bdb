// How answers stand: rounds as columns, what each agent said in them, who changed after reading whom, shares of votes.

import { marksOf } from "./marks";
import { verdictOf, type Debate, type Turn } from "./story";

export type Marks = ReturnType<typeof marksOf>;
export interface Change {
  before: string | null;
  read: string[];
} // whom it had just read who held the new answer
export interface Column {
  round: number;
  phases: string[]; // in the order in which they were first heard
  stop: string | null; // why it was the last
  votes: Map<string, number>; // of each agent's last word in the round
  none: number; // abstained, or could not be read
  absent: number;
}
export interface Standing {
  turn: Turn | null;
  absent: boolean;
} // the last answer of an agent, and whether it is missing since
export interface Votes {
  columns: Column[];
  said: Map<string, (Turn[] | undefined)[]>; // agent -> its turns by column
  finals: Set<string>; // keys of turns that are an agent's vote in their round
  changes: Map<string, Change>; // by key of the turn
  now: Map<string, Standing>;
  marks: Marks;
  entries: number; // most turns of one agent in one round
}

export function votesOf(debate: Debate, marks?: Marks): Votes {
  const columns: Column[] = [],
    byRound = new Map<number, number>();
  const numbers = [
    ...new Set([
      ...debate.turns.map((turn) => turn.round),
      ...debate.rounds.map((round) => round.index),
      ...[...debate.speaking.values()].map((speaking) => speaking.round),
    ]),
  ];
  for (const round of numbers.sort((a, b) => a - b)) {
    byRound.set(round, columns.length);
    columns.push({ round, phases: [], stop: null, votes: new Map(), none: 0, absent: 0 });
  }
  for (const round of debate.rounds) columns[byRound.get(round.index)!]!.stop = round.stop;
  // an absent voice does not tell what it was asked for: the others in its phase do, or nobody was there to
  const asked = new Set(debate.turns.filter((turn) => turn.answers).map((turn) => turn.phase));
  const votes = (turn: Turn) => turn.answers || (turn.error !== null && (asked.size === 0 || asked.has(turn.phase)));

  const said: Votes["said"] = new Map(debate.agents.map((agent) => [agent, []]));
  let entries = 1;
  for (const turn of debate.turns) {
    const at = byRound.get(turn.round)!,
      column = columns[at]!;
    if (!column.phases.includes(turn.phase)) column.phases.push(turn.phase);
    let row = said.get(turn.agent);
    if (row === undefined) said.set(turn.agent, (row = []));
    const cell = (row[at] ??= []);
    cell.push(turn);
    entries = Math.max(entries, cell.length);
  }

  const finals = new Set<string>(),
    changes: Votes["changes"] = new Map(),
    now: Votes["now"] = new Map();
  for (const [agent, row] of said) {
    let before: Turn | null = null,
      absent = false;
    for (let at = 0; at < columns.length; at++) {
      const final = row[at]?.findLast(votes),
        column = columns[at]!;
      if (final === undefined) continue;
      finals.add(final.key);
      absent = final.error !== null;
      if (absent) column.absent++;
      else {
        if (final.answer === null) column.none++;
        else column.votes.set(final.answer, (column.votes.get(final.answer) ?? 0) + 1);
        if (before !== null && before.answer !== final.answer)
          changes.set(final.key, { before: before.answer, read: persuaders(debate, final) });
        before = final;
      }
    }
    now.set(agent, { turn: before, absent });
  }
  marks ??= marksOf([
    ...debate.turns.map((turn) => turn.answer),
    ...Object.keys(verdictOf(debate)?.support ?? {}),
    verdictOf(debate)?.answer ?? null,
  ]);
  return { columns, said, finals, changes, now, marks, entries };
}

function persuaders(debate: Debate, turn: Turn): string[] {
  if (turn.answer === null) return [];
  const found = new Set<string>();
  for (const key of turn.reads) {
    const read = debate.byKey.get(key);
    if (read !== undefined && read.agent !== turn.agent && read.answer === turn.answer) found.add(read.agent);
  }
  return [...found];
}

export interface Share {
  answer: string | null;
  weight: number;
} // null: all the answers that are not shown on their own
export const SHOWN = 7; // answers that a picture shows on their own

// The answers with most votes over all rounds and in the verdict, in the order of their marks.
export function leading(votes: Votes, support: Record<string, number> = {}): string[] {
  const sums = new Map<string, number>();
  for (const { votes: counted } of votes.columns)
    for (const [answer, n] of counted) sums.set(answer, (sums.get(answer) ?? 0) + n);
  for (const [answer, weight] of Object.entries(support))
    sums.set(answer, (sums.get(answer) ?? 0) + (weight > 0 ? 1e6 + weight : 0));
  const index = (answer: string) => votes.marks.get(answer)?.index ?? Infinity;
  return [...sums]
    .sort(([a, x], [b, y]) => y - x || index(a) - index(b))
    .slice(0, SHOWN)
    .map(([answer]) => answer)
    .sort((a, b) => index(a) - index(b));
}

// One bar of the picture: the leading answers, then the rest together.
export function bar(counted: Iterable<[string, number]>, shown: readonly string[]): Share[] {
  const weights = new Map<string, number>();
  let others = 0;
  for (const [answer, weight] of counted) {
    if (!(weight > 0)) continue;
    if (shown.includes(answer)) weights.set(answer, weight);
    else others += weight;
  }
  const bars: Share[] = shown.flatMap((answer) => (weights.has(answer) ? [{ answer, weight: weights.get(answer)! }] : []));
  return others > 0 ? [...bars, { answer: null, weight: others }] : bars;
}

const cut = (text: string, most = 40): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// What a round came to, in words.
export function words(column: Column, most = 4): string {
  const sorted = [...column.votes].sort((a, b) => b[1] - a[1]);
  if (sorted.length === most + 1) most++;
  const parts = sorted.slice(0, most).map(([answer, n]) => `${n} for ${cut(answer)}`);
  const rest = sorted.slice(most).reduce((sum, [, n]) => sum + n, 0);
  if (rest > 0) parts.push(`${rest} for others`);
  if (column.none > 0) parts.push(`${column.none} without an answer`);
  if (column.absent > 0) parts.push(`${column.absent} absent`);
  return parts.join(", ") || "no answers";
}

// How many vote in a round: of a debate that is over the most who did, of one that goes on perhaps all.
export function votersOf(votes: Votes, debate: Debate): number {
  const most = votes.columns.reduce(
    (n, { votes: counted, none, absent }) =>
      Math.max(
        n,
        [...counted.values()].reduce((a, b) => a + b, none + absent),
      ),
    0,
  );
  return debate.verdict === null ? Math.max(most, debate.agents.length) : most;
}

// Names as a sentence has them.
export function list(names: readonly string[], most = 3): string {
  if (names.length <= most) return names.join(", ");
  return `${names.slice(0, most - 1).join(", ")} and ${names.length - most + 1} more`;
}
