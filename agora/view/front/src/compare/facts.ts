// What of two runs can be set beside each other: which agents match, how each came to its answer, what differs.

import type { Votes } from "../run/votes";
import type { Debate, Story } from "../run/story";

export interface Aligned { agent: string; inA: boolean; inB: boolean }

// The agents of both by name: in the first's order, then those that only the second has.
export function aligned(a: readonly string[], b: readonly string[]): Aligned[] {
  const inA = new Set(a), inB = new Set(b);
  return [
    ...[...inA].map((agent) => ({ agent, inA: true, inB: inB.has(agent) })),
    ...[...inB].filter((agent) => !inA.has(agent)).map((agent) => ({ agent, inA: false, inB: true })),
  ];
}

export type Word = { answer: string | null; why: "abstained" | "unparsed" | null; absent: boolean };

// An agent's vote of each round, by the index of the round; undefined where it was not asked for one.
export function course(votes: Votes, agent: string): (Word | undefined)[] {
  const words: (Word | undefined)[] = [];
  const row = votes.said.get(agent) ?? [];
  votes.columns.forEach((column, at) => {
    const turn = row[at]?.findLast((one) => votes.finals.has(one.key));
    if (turn !== undefined) words[column.round] = { answer: turn.answer, why: turn.why, absent: turn.error !== null };
  });
  return words;
}

const same = (a: Word | undefined, b: Word | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.answer === b.answer && a.why === b.why && a.absent === b.absent);

// The same with rounds in which nothing changed left out: each word with the round from which it held.
export function changes(words: readonly (Word | undefined)[]): { from: number; word: Word }[] {
  const found: { from: number; word: Word }[] = [];
  words.forEach((word, from) => {
    if (word !== undefined && !same(found.at(-1)?.word, word)) found.push({ from, word });
  });
  return found;
}

// An agent's last answer; null: it has none.
export const lastOf = (votes: Votes, agent: string): string | null => votes.now.get(agent)?.turn?.answer ?? null;

// Which model each agent is, by what was called; several where that changed, as with a router.
export function modelsBy(debate: Debate): Map<string, string> {
  const found = new Map<string, Set<string>>();
  for (const { agent, call } of debate.turns) {
    if (call === null) continue;
    const models = found.get(agent);
    if (models === undefined) found.set(agent, new Set([call.model]));
    else models.add(call.model);
  }
  return new Map([...found].map(([agent, models]) => [agent, [...models].join(", ")]));
}

// How far those who answered last agree: the most common answer, and how many of how many hold it.
export function agreement(votes: Votes): { answer: string; holds: number; of: number } | null {
  const column = votes.columns.findLast((one) => one.votes.size > 0);
  if (column === undefined) return null;
  const [answer, holds] = [...column.votes].reduce((best, one) => (one[1] > best[1] ? one : best));
  return { answer, holds, of: [...column.votes.values()].reduce((sum, n) => sum + n, column.none + column.absent) };
}

// Seconds from the first record to the last; while it runs, to now.
export function took(story: Story, now: number): number | null {
  const { run, main } = story;
  if (run === null) return null;
  const began = main?.began ?? run.created;
  const ended = main?.ended ?? (run.status === "running" ? now : run.updated);
  return Math.max(0, ended - began);
}
