// Sums by agent and round, and the axis of time.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnyRecord } from "../src/records";
import { axisOf, lanesOf, ledgerOf, nice } from "../src/run/ledger";
import { Story } from "../src/run/story";

let id = 0;
const event = (at: number, kind: string, data: object): AnyRecord => ({ type: "event", id: ++id, at, kind, path: "", data }) as AnyRecord;
const call = (path: string, usd: number | null, more: object = {}): AnyRecord => ({
  type: "call", id: ++id, path, occurrence: 0, model: "m", begun: 0, seconds: 1, attempts: 1, error: null, calls: 1,
  input_tokens: 10, output_tokens: 2, cached_tokens: 0, reasoning_tokens: 0, usd, text: "t", chars: 1, confidence: null,
  logprob: null, finish: null, route: null, warnings: [], heat: false, ...more,
} as AnyRecord);
const story = () => new Story().add([
  call("ann/0/answer", 0.5), call("ann/1/revise", null), call("bob/0/answer", 0.25), call("bob/0/answer/judge/0/x", 0.25),
  call("(moderator)/1/judge", 2), event(1, "started", { question: "q", agents: ["ann", "bob", "cy"], edges: [] }),
]);

test("what is not known makes a sum unknown, and is not zero", () => {
  const told = story(), ledger = ledgerOf(told, told.main!, "usd", 30);
  assert.deepEqual(ledger.rounds, [0, 1]);
  assert.deepEqual(ledger.rows.map((row) => [row.name, row.kind, row.total.known, row.total.unknown, row.total.any]), [
    ["ann", "agent", 0.5, true, true], ["bob", "agent", 0.5, false, true], ["cy", "agent", 0, false, false], ["(moderator)", "moderator", 2, false, true]]);
  assert.deepEqual(ledger.totals.map((sum) => [sum.known, sum.unknown]), [[1, false], [2, true]]);
  assert.deepEqual([ledger.total.known, ledger.total.unknown], [3, true]);
});

test("beyond the dearest, agents are one row, and nothing is lost in the sums", () => {
  const told = story(), ledger = ledgerOf(told, told.main!, "tokensIn", 1);
  assert.deepEqual(ledger.rows.map((row) => [row.name, row.kind, row.total.known]), [["ann", "agent", 20], ["2", "rest", 20], ["(moderator)", "moderator", 10]]);
  assert.equal(ledger.total.known, 50);
});

test("lanes: what was asked, waits, failures, what goes on", () => {
  const told = new Story().add([
    event(0, "started", { question: "q", agents: ["ann", "bob"], edges: [] }),
    event(1, "speaking", { agent: "ann", round: 0, phase: "answer" }),
    event(2, "retrying", { agent: "ann", model: "m", error: "busy", wait: 1.5, attempt: 1 }),
    event(4, "spoke", { agent: "ann", round: 0, phase: "answer", reads: [], error: "gone" }),
    event(4, "speaking", { agent: "bob", round: 0, phase: "answer" }),
  ]);
  const [ann, bob] = lanesOf(told, told.main!, 9);
  assert.deepEqual(ann!.bars.map((bar) => [bar.from, bar.to, bar.failed, bar.waits]), [[1, 4, true, [[2, 3.5]]]]);
  assert.deepEqual(bob!.bars.map((bar) => [bar.from, bar.to, bar.live]), [[4, 9, true]]);
});

test("an axis is to scale, and cut where nothing went on for long", () => {
  const plain = axisOf([{ from: 10, to: 14 }, { from: 12, to: 20 }]);
  assert.deepEqual([10, 15, 20].map(plain.at), [0, 0.5, 1]);
  assert.equal(plain.breaks.length, 0);
  const cut = axisOf([{ from: 0, to: 10 }, { from: 90_000, to: 90_010 }]);
  assert.deepEqual(cut.breaks.map((gap) => gap.left), [89_990]);
  assert.ok(Math.abs(cut.at(10) - 0.49) < 1e-9 && Math.abs(cut.at(90_000) - 0.51) < 1e-9 && cut.at(90_010) === 1);
  assert.ok(cut.at(5_000) <= cut.at(90_000));
  assert.equal(axisOf([]).at(5), 1);
  assert.ok(Number.isFinite(axisOf([{ from: 3, to: 3 }]).at(3)));
});

test("steps of a scale are round numbers", () => {
  assert.deepEqual([0, 0.013, 0.2, 3, 7, 25, 100, 5_000].map(nice), [1, 0.02, 0.2, 5, 10, 30, 120, 7_200]);
});
