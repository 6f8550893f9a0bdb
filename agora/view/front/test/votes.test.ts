// Rounds as columns: votes, changes of mind, and the parts of the picture of shares.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Key } from "../src/records";
import { keyOf, Story, verdictOf } from "../src/run/story";
import { bar, leading, list, votersOf, votesOf, words } from "../src/run/votes";
import { call, run, teller } from "./told";

const all = (round: number, ...names: string[]): Key[] => names.map((name) => [name, round, "answer"]);

test("who changed, and after reading whom, as the verdict has it", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["ann", "bob", "cid"]),
    tell.spoke("ann", 0, "1"), tell.spoke("bob", 0, "2"), tell.spoke("cid", 0, "2"), tell.round(0),
    tell.spoke("ann", 1, "2", all(0, "ann", "bob", "cid")), tell.spoke("bob", 1, "3", all(0, "ann", "cid")), tell.spoke("cid", 1, undefined, [], { error: "cid: gone" }), tell.round(1),
    tell.spoke("ann", 2, null, all(1, "bob")), tell.spoke("bob", 2, "3", all(1, "ann")), tell.spoke("cid", 2, "3", all(1, "ann", "bob")), tell.round(2, "enough"),
  ]);
  const votes = votesOf(story.main!);
  assert.deepEqual([...votes.changes], [
    [keyOf("ann", 1, "answer"), { before: "1", read: ["bob", "cid"] }],
    [keyOf("ann", 2, "answer"), { before: "2", read: [] }], // an abstention follows nobody
    [keyOf("bob", 1, "answer"), { before: "2", read: [] }], // nobody it read had said that
    [keyOf("cid", 2, "answer"), { before: "2", read: ["bob"] }], // what it said before it was absent
  ]);
  assert.deepEqual(votes.columns.map(({ round, votes: counted, none, absent, stop }) => [round, [...counted], none, absent, stop]), [
    [0, [["1", 1], ["2", 2]], 0, 0, null], [1, [["2", 1], ["3", 1]], 0, 1, null], [2, [["3", 2]], 1, 0, "enough"],
  ]);
  assert.deepEqual(votes.columns.map((column) => words(column)), ["2 for 2, 1 for 1", "1 for 2, 1 for 3, 1 absent", "2 for 3, 1 without an answer"]);
  assert.deepEqual([...votes.marks.keys()], ["1", "2", "3"]);
});

test("of several phases of a round the last that answers is the vote; others are there to be read", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["ann", "bob"]), tell.spoke("ann", 0, "1"), tell.spoke("bob", 0, "1"),
    tell.spoke("ann", 1, undefined, [], { phase: "critique" }), tell.spoke("ann", 1, "2", [], { phase: "revise" }), tell.spoke("ann", 1, undefined, [], { phase: "score" }),
    tell.spoke("bob", 1, undefined, [], { phase: "critique", error: "bob: gone" }), tell.spoke("bob", 1, "1", [], { phase: "revise" }),
  ]);
  const votes = votesOf(story.main!), column = votes.columns[1]!;
  assert.deepEqual(column.phases, ["critique", "revise", "score"]);
  assert.deepEqual([...column.votes, column.absent], [["2", 1], ["1", 1], 0]); // who failed to criticise is not absent from the vote
  assert.deepEqual(votes.said.get("ann")?.[1]?.map((turn) => turn.phase), ["critique", "revise", "score"]);
  assert.equal(votes.entries, 3);
  assert.deepEqual([...votes.finals].length, 4);
  assert.deepEqual(votes.now.get("bob"), { turn: votes.said.get("bob")![1]![1], absent: false });
});

test("where everybody failed, everybody is absent from the vote", () => {
  const tell = teller(), gone = { error: "gone" }, story = new Story().add([run(), tell.started(["a", "b"]), tell.spoke("a", 0, undefined, [], gone), tell.spoke("b", 0, undefined, [], gone)]);
  const votes = votesOf(story.main!);
  assert.equal(votes.columns[0]?.absent, 2);
  assert.deepEqual(votes.now.get("a"), { turn: null, absent: true });
  assert.equal(words(votes.columns[0]!), "2 absent");
});

test("a round in which somebody speaks is a column before anybody has spoken", () => {
  const tell = teller(), story = new Story().add([run({ status: "running" }), tell.started(["a"]), tell.speaking("a", 0)]);
  const votes = votesOf(story.main!);
  assert.deepEqual(votes.columns.map(({ round }) => round), [0]);
  assert.equal(words(votes.columns[0]!), "no answers");
});

test("many answers: the heaviest on their own, the rest together, and nothing is lost", () => {
  const tell = teller(), names = Array.from({ length: 40 }, (_, i) => `a${i}`);
  const said = names.map((_, i) => (i < 20 ? String(100 + (i % 4)) : String(i)));
  const story = new Story().add([run(), tell.started(names), ...names.map((name, i) => tell.spoke(name, 0, said[i]!))]), votes = votesOf(story.main!);
  const shown = leading(votes);
  assert.deepEqual(shown, ["100", "101", "102", "103", "20", "21", "22"]);
  const shares = bar(votes.columns[0]!.votes, shown);
  assert.deepEqual(shares.at(-1), { answer: null, weight: 17 });
  assert.equal(shares.reduce((sum, { weight }) => sum + weight, 0), 40);
  assert.ok(leading(votes, { 39: 1 }).includes("39")); // what decided is shown on its own
  assert.deepEqual(bar([["x", -2], ["100", 0]], shown), []); // a weight may be negative, a bar is not
  assert.equal(words(votes.columns[0]!), "5 for 100, 5 for 101, 5 for 102, 5 for 103, 20 for others");
});

test("names as a sentence has them", () => {
  assert.equal(list(["a"]), "a");
  assert.equal(list(["a", "b", "c"]), "a, b, c");
  assert.equal(list(["a", "b", "c", "d"]), "a, b and 2 more");
});

test("a bar is full when all who vote have voted", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["a", "b", "critic"]), tell.spoke("a", 0, "1"), tell.spoke("critic", 0, undefined, [], { phase: "critique" }), tell.spoke("b", 0, null),
  ]);
  assert.equal(votersOf(votesOf(story.main!), story.main!), 3);
  story.add([tell.decided("1", { 1: 1 })]);
  assert.equal(votersOf(votesOf(story.main!), story.main!), 2);
});

test("a run that does not keep its content has turns, and no votes or verdict to show", () => {
  const tell = teller(), bare = { answer: undefined, text: undefined }, decided = tell.decided("1");
  decided.data = { rounds: 1, absent: [] } as never;
  const failed = call(1, "bob/0/answer", { error: { kind: "ServerError", message: "" }, text: null });
  const round = tell.round(0);
  round.data = { round: 0 } as never;
  const story = new Story().add([
    run({ content: false, question: null }), tell.started(["ann", "bob"]), tell.spoke("ann", 0, undefined, [], bare as never), failed,
    tell.spoke("bob", 0, undefined, [], bare as never), round, decided,
  ]);
  const votes = votesOf(story.main!);
  assert.equal(verdictOf(story.main!), null);
  assert.deepEqual(story.main!.turns.map((turn) => turn.error), [null, "ServerError"]);
  assert.deepEqual(votes.columns.map(({ stop, absent }) => [stop, absent]), [[null, 1]]);
  assert.equal(votes.marks.size, 0);
});
