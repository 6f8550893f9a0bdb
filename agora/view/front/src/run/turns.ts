// What can be read from a debate's turns: who changed and after whom, what belongs together, what happened on the way.

import type { CallRecord, RetryingData, VerdictData } from "../records";
import { marksOf, type Marks } from "./marks";
import { keyOf, type Debate, type Story, type Turn } from "./story";

export const MODERATOR = "(moderator)"; // under which its calls are recorded
export const prefixOf = (debate: Debate): string => (debate.path === "" ? "" : `${debate.path}/`);
export const pathOf = (debate: Debate, turn: Turn): string =>
  `${prefixOf(debate)}${turn.agent}/${turn.round}/${turn.phase}`;

// Computed once for a debate as it stands: a debate that is told on is another object.
export function once<T>(of: (debate: Debate) => T): (debate: Debate) => T {
  const known = new WeakMap<Debate, { at: number; made: T }>();
  return (debate) => {
    const before = known.get(debate);
    if (before !== undefined && before.at === debate.turns.length) return before.made;
    const made = of(debate);
    known.set(debate, { at: debate.turns.length, made });
    return made;
  };
}

export const marksIn = once((debate: Debate): Marks =>
  marksOf([...debate.turns.map((turn) => turn.answer), ...Object.keys(verdictOf(debate)?.support ?? {}), verdictOf(debate)?.answer ?? null]));

// A debate's verdict; null also where a run that keeps no content has only the figures of it.
export const verdictOf = (debate: Debate): VerdictData | null => {
  const told: Partial<VerdictData> | null = debate.verdict;
  return told?.support === undefined ? null : debate.verdict;
};

// What is known of a turn's text, without the sign that it was cut.
export const known = (turn: Turn): string | null =>
  turn.text !== null && turn.chars > turn.text.length ? turn.text.replace(/…$/, "") : turn.text;

// Why a voice is absent; null where it is not. A run that keeps no content has the kind of the call's error alone.
export const errorOf = (turn: Turn): string | null =>
  turn.error ?? (turn.text === null && turn.call?.error ? turn.call.error.message || turn.call.error.kind : null);

export interface Changed { before: string | null; why: Turn["why"] }

// The turns that answer otherwise than their agent did before, by key.
export const changesIn = once((debate: Debate): Map<string, Changed> => {
  const last = new Map<string, Turn>(), changed = new Map<string, Changed>();
  for (const turn of debate.turns) {
    if (!turn.answers || turn.error !== null) continue;
    const before = last.get(turn.agent);
    if (before !== undefined && before.answer !== turn.answer) changed.set(turn.key, { before: before.answer, why: before.why });
    last.set(turn.agent, turn);
  }
  return changed;
});

// Where each agent stands after the last of its answers up to a round; who has given none is not in it.
export function standing(debate: Debate, round = Infinity): Map<string, Turn> {
  const last = new Map<string, Turn>();
  for (const turn of debate.turns) {
    const before = last.get(turn.agent);
    if (turn.answers && turn.round <= round && (before === undefined || before.round <= turn.round)) last.set(turn.agent, turn);
  }
  return last;
}

export interface Aside { call: CallRecord; round: number; role: string } // of the moderator

// What the moderator asked models: verdicts of judges, summaries, digests.
export function asides(story: Story, debate: Debate): Aside[] {
  const start = `${prefixOf(debate)}${MODERATOR}/`;
  return story.calls.flatMap((call) => {
    if (!call.path.startsWith(start)) return [];
    const found = /^(\d+)\/(.+)$/.exec(call.path.slice(start.length));
    return found === null ? [] : [{ call, round: Number(found[1]), role: found[2]! }];
  });
}

export interface Group { key: string; round: number; phase: string | null; turns: Turn[]; asides: Aside[] } // null: the moderator's

// Turns by round and phase, each as it came; what the moderator asked in a round comes after its turns.
export function groupsOf(turns: readonly Turn[], said: readonly Aside[]): Group[] {
  const groups = new Map<string, Group>();
  const group = (round: number, phase: string | null): Group => {
    const key = JSON.stringify([round, phase]);
    let found = groups.get(key);
    if (found === undefined) groups.set(key, (found = { key, round, phase, turns: [], asides: [] }));
    return found;
  };
  for (const turn of turns) group(turn.round, turn.phase).turns.push(turn);
  for (const aside of said) group(aside.round, null).asides.push(aside);
  const order = [...groups.values()]; // of phases within a round: as they first came
  return order.sort((a, b) => a.round - b.round || Number(a.phase === null) - Number(b.phase === null));
}

export interface Retry { at: number; error: string; wait: number; attempt: number }

// What failed and was tried again while a turn went on, by the turn's key.
export function retriesOf(story: Story, debate: Debate): Map<string, Retry[]> {
  const waits = new Map<string | null, Retry[]>();
  for (const event of story.events) {
    if (event.kind !== "retrying" || event.path !== debate.path) continue;
    const { agent = null, error = "why is not kept", wait, attempt }: Partial<RetryingData> & Pick<RetryingData, "wait" | "attempt"> = event.data;
    const list = waits.get(agent);
    if (list === undefined) waits.set(agent, [{ at: event.at, error, wait, attempt }]);
    else list.push({ at: event.at, error, wait, attempt });
  }
  const found = new Map<string, Retry[]>();
  if (waits.size === 0) return found;
  for (const turn of debate.turns) {
    const began = turn.began;
    const mine = began === null ? [] : (waits.get(turn.agent) ?? []).filter((wait) => wait.at >= began && wait.at <= turn.at);
    if (mine.length > 0) found.set(turn.key, mine);
  }
  return found;
}

// A turn in words, for headings and labels.
export const called = (turn: { agent: string; round: number; phase: string }): string =>
  `${turn.agent}, round ${turn.round}, ${turn.phase}`;

// Keys of turns that were shown a turn.
export function readersOf(debate: Debate, turn: Turn): Turn[] {
  const key = keyOf(turn.agent, turn.round, turn.phase);
  return debate.turns.filter((other) => other.round >= turn.round && other !== turn && other.reads.includes(key));
}

export interface Moved { round: number; after: string | null; read: string[] | null; from: { before: string | null; agents: string[] }[] }

const READABLE = 50_000; // edges up to which it is looked up, while a debate goes on, who held what among those who were read

// Who changed after reading whom (null: not looked up), those who went the same way together. Before a verdict it is read from the turns.
export function movesOf(debate: Debate): Moved[] {
  const changes = verdictOf(debate)?.changes ?? [...changesIn(debate)].map(([key, { before }]) => {
    const turn = debate.byKey.get(key)!;
    if (debate.edges.length > READABLE) return { agent: turn.agent, round: turn.round, before, after: turn.answer, read: null };
    const held = turn.answer === null ? [] : turn.reads.flatMap((read) => {
      const other = debate.byKey.get(read);
      return other !== undefined && other.agent !== turn.agent && other.answer === turn.answer ? [other.agent] : [];
    });
    return { agent: turn.agent, round: turn.round, before, after: turn.answer, read: [...new Set(held)] };
  });
  const groups = new Map<string, Moved>();
  for (const { agent, round, before, after, read } of changes) {
    const key = JSON.stringify([round, after, read === null ? null : [...read].sort()]);
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = { round, after, read, from: [] }));
    const same = group.from.find((one) => one.before === before);
    if (same === undefined) group.from.push({ before, agents: [agent] });
    else same.agents.push(agent);
  }
  const size = (group: Moved): number => group.from.reduce((sum, one) => sum + one.agents.length, 0);
  return [...groups.values()].sort((a, b) => a.round - b.round || size(b) - size(a));
}

export interface Vote { answer: string | null; first: number; last: number; weight: number; agents: string[] } // null: no vote

// How the agents stand: at first, at last, and the weight behind each answer; the heaviest first, no vote at the end.
export function votesOf(debate: Debate): Vote[] {
  const votes = new Map<string | null, Vote>();
  const vote = (answer: string | null): Vote => {
    let found = votes.get(answer);
    if (found === undefined) votes.set(answer, (found = { answer, first: 0, last: 0, weight: 0, agents: [] }));
    return found;
  };
  for (const turn of standing(debate, 0).values()) if (turn.error === null) vote(turn.answer).first += 1;
  for (const turn of standing(debate).values()) {
    const found = vote(turn.answer);
    found.last += 1;
    found.agents.push(turn.agent);
  }
  const support = verdictOf(debate)?.support;
  if (support !== undefined) for (const [answer, weight] of Object.entries(support)) vote(answer).weight = weight;
  else for (const found of votes.values()) found.weight = found.answer === null ? 0 : found.last;
  return [...votes.values()].sort((a, b) => Number(a.answer === null) - Number(b.answer === null) || b.weight - a.weight || b.last - a.last || b.first - a.first);
}
