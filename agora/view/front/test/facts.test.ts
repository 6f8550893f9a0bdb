import assert from "node:assert/strict";
import test from "node:test";
import { agreement, aligned, changes, course, lastOf, modelsBy, took } from "../src/compare/facts";
import type { AnyRecord, CallRecord } from "../src/records";
import { Story } from "../src/run/story";
import { votesOf } from "../src/run/votes";
import { placeOf } from "../src/seat";

let id = 0;
const event = (kind: string, data: unknown, at = id): AnyRecord => ({ type: "event", id: ++id, at, kind, path: "", data }) as AnyRecord;
const spoke = (agent: string, round: number, answer: string | null, more: object = {}): AnyRecord =>
  event("spoke", { agent, round, phase: "answer", reads: [], answer, ...more });
const call = (agent: string, round: number, model: string): AnyRecord =>
  ({ type: "call", id: ++id, path: `${agent}/${round}/answer`, model, text: "so", chars: 2 }) as CallRecord;

// ann changes her mind, bob is absent at the end, cy never can be read
function story(): Story {
  const told = new Story().add([
    { type: "run", id: "r", status: "done", created: 100, updated: 200 } as AnyRecord,
    event("started", { question: "Q", agents: ["ann", "bob", "cy"], edges: [] }, 110),
    call("ann", 0, "x"), call("ann", 1, "y"), call("bob", 0, "x"), call("ann", 2, "x"),
  ]);
  for (const [round, answer] of ["1", "2", "2"].entries()) {
    told.add([spoke("ann", round, answer)]);
    told.add([round < 2 ? spoke("bob", round, "2") : event("spoke", { agent: "bob", round, phase: "answer", reads: [], error: "it failed" })]);
    told.add([spoke("cy", round, null, { why_none: "unparsed" }), event("round", { round, stop: null, answers: {} })]);
  }
  return told;
}

test("agents are matched by name, the second's own come last", () => {
  assert.deepEqual(aligned(["a", "b"], ["c", "b"]), [
    { agent: "a", inA: true, inB: false }, { agent: "b", inA: true, inB: true }, { agent: "c", inA: false, inB: true },
  ]);
});

test("how an agent voted, by round", () => {
  const votes = votesOf(story().main!);
  assert.deepEqual(course(votes, "ann").map((word) => word?.answer), ["1", "2", "2"]);
  assert.deepEqual(changes(course(votes, "ann")).map(({ from }) => from), [0, 1]);
  assert.deepEqual(course(votes, "bob").map((word) => word?.absent), [false, false, true]);
  assert.deepEqual(changes(course(votes, "cy")), [{ from: 0, word: { answer: null, why: "unparsed", absent: false } }]);
  assert.deepEqual(course(votes, "nobody"), []);
  // who was not asked keeps his word: that is no change
  assert.equal(changes([{ answer: "1", why: null, absent: false }, undefined, { answer: "1", why: null, absent: false }]).length, 1);
  assert.equal(lastOf(votes, "ann"), "2");
  assert.equal(lastOf(votes, "nobody"), null);
});

test("how far they agree: those without a readable answer count among all", () => {
  assert.deepEqual(agreement(votesOf(story().main!)), { answer: "2", holds: 1, of: 3 });
  assert.equal(agreement(votesOf(new Story().add([event("started", { agents: ["ann"], edges: [] })]).main!)), null);
});

test("which models were asked, several where that changed", () => {
  assert.deepEqual([...modelsBy(story().main!)], [["ann", "x, y"], ["bob", "x"]]);
});

test("how long it took, to now while it goes on", () => {
  assert.equal(took(story(), 999), 90);
  const goes = story();
  goes.run = { ...goes.run!, status: "running" };
  assert.equal(took(goes, 999), 889);
  assert.equal(took(new Story(), 1), null);
});

test("where a person sits is the end of the path", () => {
  assert.deepEqual(placeOf("Ida/1/revise"), { agent: "Ida", round: 1, phase: "revise" });
  assert.deepEqual(placeOf("panel/0/answer/Ida/2/critique"), { agent: "Ida", round: 2, phase: "critique" });
  assert.equal(placeOf("Ida"), null);
});
