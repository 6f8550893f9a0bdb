// Records of runs made up for tests.

import type { AnyRecord, CallRecord, EventRecord, Key, RunRecord, SpokeData, VerdictData } from "../src/records";

const USAGE = { calls: 0, input_tokens: 0, output_tokens: 0, cached_tokens: 0, reasoning_tokens: 0, cache_write_tokens: 0, usd: null, seconds: 0 };

export const run = (more: Partial<RunRecord> = {}): RunRecord => ({
  type: "run", id: "r", status: "done", question: "How many?", name: "debate", created: 0, updated: 9, answer: null, reason: null, rounds: null,
  attempts: 0, failed: 0, seed: 0, content: true, alive: false, here: false, resumable: false, usage: USAGE, versions: {}, ...more,
});

export const call = (id: number, path: string, more: Partial<CallRecord> = {}): CallRecord => ({
  type: "call", id, path, occurrence: 0, model: "m", begun: id, seconds: 0.5, attempts: 1, error: null, calls: 1, input_tokens: 10, output_tokens: 5,
  cached_tokens: 0, reasoning_tokens: 0, usd: 0.01, text: `said ${path}`, chars: 9, confidence: null, logprob: null, finish: null, route: null,
  warnings: [], heat: false, ...more,
});

// A teller of events, numbered as they are told.
export function teller(path = "", from = 0) {
  let id = from;
  const event = (kind: string, data: unknown) => ({ type: "event", id: ++id, at: 100 + id, kind, path, data }) as unknown as EventRecord;
  return {
    started: (agents: string[], edges: [string, string][] = []) => event("started", { question: "How many?", agents, edges }),
    speaking: (agent: string, round: number, phase = "answer") => event("speaking", { agent, round, phase }),
    spoke: (agent: string, round: number, answer: string | null | undefined, reads: Key[] = [], more: Partial<SpokeData> = {}) =>
      event("spoke", { agent, round, phase: "answer", reads, ...(answer === undefined ? {} : { answer, why_none: answer === null ? "abstained" : null, confidence: 0.5 }), ...more }),
    round: (round: number, stop: string | null = null) => event("round", { round, stop, answers: {} }),
    decided: (answer: string | null, support: Record<string, number> = {}) =>
      event("decided", { answer, text: "", reason: "so", confidence: null, rounds: 1, support, initial: null, dissent: [], changes: [], absent: [], warnings: [], usage: USAGE, question: "", run: "r" } satisfies VerdictData),
  };
}

// So many agents that read each other over so many rounds; each answers something else now and then.
export function long(agents: number, rounds: number): AnyRecord[] {
  const tell = teller(), names = Array.from({ length: agents }, (_, i) => `a${i}`), told: AnyRecord[] = [run(), tell.started(names)];
  for (let round = 0; round < rounds; round++) {
    for (const name of names) told.push(tell.speaking(name, round));
    names.forEach((name, i) => {
      told.push(call(round * agents + i + 1, `${name}/${round}/answer`));
      const reads = round === 0 ? [] : names.filter((other) => other !== name).map((other): Key => [other, round - 1, "answer"]);
      told.push(tell.spoke(name, round, String((i * 7 + round * 3) % 5), reads));
    });
    told.push(tell.round(round, round === rounds - 1 ? "enough" : null));
  }
  return [...told, tell.decided("1", { 1: 2 })];
}
