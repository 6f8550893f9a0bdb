// What is read from turns, on a debate worked by hand; and figures in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnyRecord, Key } from "../src/records";
import { names, percent, seconds, usd } from "../src/run/say";
import { keyOf, Story } from "../src/run/story";
import { asides, changesIn, groupsOf, marksIn, movesOf, readersOf, retriesOf, standing, votesOf } from "../src/run/turns";

let id = 0;
const event = (at: number, kind: string, data: object): AnyRecord => ({ type: "event", id: ++id, at, kind, path: "", data }) as AnyRecord;
const spoke = (at: number, agent: string, round: number, answer: string | null, reads: Key[] = [], more: object = {}) =>
  event(at, "spoke", { agent, round, phase: round === 0 ? "answer" : "revise", reads, answer, why_none: answer === null ? "abstained" : null, ...more });
const call = (path: string): AnyRecord => ({
  type: "call", id: ++id, path, occurrence: 0, model: "m", begun: 0, seconds: 1, attempts: 1, error: null, calls: 1,
  input_tokens: 1, output_tokens: 1, cached_tokens: 0, reasoning_tokens: 0, usd: null, text: "t", chars: 1, confidence: null,
  logprob: null, finish: null, route: null, warnings: [], heat: false,
});
const A: Key = ["ann", 0, "answer"], B: Key = ["bob", 0, "answer"], C: Key = ["cy", 0, "answer"];

function told(): Story {
  return new Story().add([
    event(1, "started", { question: "q", agents: ["ann", "bob", "cy"], edges: [] }),
    event(2, "speaking", { agent: "ann", round: 0, phase: "answer" }),
    event(3, "retrying", { agent: "ann", model: "m", error: "busy", wait: 1, attempt: 2 }),
    spoke(4, "ann", 0, "7"), spoke(5, "bob", 0, "9"), spoke(6, "cy", 0, "9"),
    event(7, "round", { round: 0, stop: null, answers: {} }),
    spoke(8, "cy", 1, "7", [A, B]), spoke(9, "bob", 1, "7", [A, C]), spoke(10, "ann", 1, null, [B, C]),
    call("(moderator)/1/judge"), call("(moderator)/0/digest/ann/answer"), call("team/0/answer/(moderator)/0/judge"),
  ]);
}

test("who changed, and those who did the same together", () => {
  const debate = told().main!;
  assert.deepEqual([...changesIn(debate)].map(([key, changed]) => [key, changed.before]), [
    [keyOf("cy", 1, "revise"), "9"], [keyOf("bob", 1, "revise"), "9"], [keyOf("ann", 1, "revise"), "7"]]);
  assert.deepEqual(movesOf(debate), [
    { round: 1, after: "7", read: ["ann"], from: [{ before: "9", agents: ["cy", "bob"] }] },
    { round: 1, after: null, read: [], from: [{ before: "7", agents: ["ann"] }] }]);
});

test("an absent voice is no change, and stands where it stood", () => {
  const story = told().add([spoke(11, "cy", 2, null, [], { error: "timeout", answer: undefined })]);
  assert.equal(changesIn(story.main!).size, 3);
  assert.equal(standing(story.main!).get("cy")?.answer, "7");
  assert.equal(standing(story.main!, 0).get("cy")?.answer, "9");
});

test("votes at first, at last, and what a verdict weighs", () => {
  const story = told();
  const short = () => votesOf(story.main!).map((v) => [v.answer, v.first, v.last, v.weight, v.agents.join()]);
  assert.deepEqual(short(), [["7", 1, 2, 2, "bob,cy"], ["9", 2, 0, 0, ""], [null, 0, 1, 0, "ann"]]);
  story.add([event(12, "decided", { answer: "5", support: { 5: 2.5, 7: 0.5 }, changes: [] })]);
  assert.deepEqual(short().map((v) => v.slice(0, 4)), [["5", 0, 0, 2.5], ["7", 1, 2, 0.5], ["9", 2, 0, 0], [null, 0, 1, 0]]);
});

test("groups are in order, the moderator last in its round; calls of a debate inside are not its own", () => {
  const story = told(), debate = story.main!;
  const groups = groupsOf(debate.turns, asides(story, debate));
  assert.deepEqual(groups.map((g) => [g.round, g.phase, g.turns.length, g.asides.map((a) => a.role)]), [
    [0, "answer", 3, []], [0, null, 0, ["digest/ann/answer"]], [1, "revise", 3, []], [1, null, 0, ["judge"]]]);
});

test("retries belong to the turn in which they were", () => {
  const story = told();
  assert.deepEqual([...retriesOf(story, story.main!)], [[keyOf("ann", 0, "answer"), [{ at: 3, error: "busy", wait: 1, attempt: 2 }]]]);
});

test("who read a turn; marks by first appearance", () => {
  const debate = told().main!;
  assert.deepEqual(readersOf(debate, debate.byKey.get(keyOf(...A))!).map((t) => t.agent), ["cy", "bob"]);
  assert.deepEqual([...marksIn(debate)].map(([answer, mark]) => answer + mark.sign), ["7A", "9B"]);
});

test("figures say what is known", () => {
  assert.deepEqual([null, 0, 0.00001, 0.0123, 12.345].map(usd), ["unknown", "$0", "<$0.0001", "$0.0123", "$12.35"]);
  assert.deepEqual([0.0001, 0.25, 3.14, 42, 61, 300, 7_300].map(seconds), ["<1 ms", "250 ms", "3.1 s", "42 s", "1 min 1 s", "5 min", "2 h 1 min"]);
  assert.deepEqual([0, 0.0001, 0.5, 0.9999, 1].map(percent), ["0%", "<0.1%", "50%", ">99.9%", "100%"]);
  assert.deepEqual([[], ["a"], ["a", "b"], ["a", "b", "c", "d", "e", "f"]].map((of) => names(of)), ["", "a", "a and b", "a, b, c and 3 others"]);
});
