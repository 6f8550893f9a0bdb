// A run put together from its records: as it is told, as it is shown meanwhile, and told again up to any event.

import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf, Story, type Debate } from "../src/run/story";
import { call, long, run, teller } from "./told";

const plain = (debates: Map<string, Debate>) =>
  [...debates].map(([path, debate]) => [path, {
    ...debate, byKey: [...debate.byKey.keys()], speaking: [...debate.speaking], turns: debate.turns.map((turn) => ({ ...turn })),
  }]);

test("a story told again up to any event is the story that had been told so far", () => {
  const records = long(6, 60), whole = new Story().add(records);
  assert.ok(whole.events.length > 700); // more than two of the places that are kept
  const calls = records.filter((record) => record.type === "call" || record.type === "run");
  let k = 0;
  for (let i = 0; i < 60; i++) {
    k = (k + 437) % (whole.events.length + 1); // back and on, near and far
    const fresh = new Story().add(calls).add(whole.events.slice(0, k)), told = whole.until(k);
    if (k === whole.events.length) for (const debate of fresh.debates.values()) debate.speaking.clear();
    assert.deepEqual(plain(told.debates), plain(fresh.debates), `after ${k} events`);
    assert.deepEqual(told.events, fresh.events);
  }
  assert.equal(whole.until(0).main, null);
  assert.equal(whole.until(99_999).main?.verdict?.answer, "1");
});

test("what is told again does not change what was told before it, nor the whole", () => {
  const whole = new Story().add(long(3, 200)), early = whole.until(300), before = JSON.stringify(plain(early.debates)), all = JSON.stringify(plain(whole.debates));
  whole.until(700);
  whole.until(301);
  assert.equal(JSON.stringify(plain(early.debates)), before);
  assert.equal(JSON.stringify(plain(whole.debates)), all);
});

test("a story up to an event has the calls that were over by then", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["ann", "bob"]), // at 101
    call(1, "ann/0/answer", { begun: 101, seconds: 1 }), tell.spoke("ann", 0, "1"), // at 102
    call(2, "bob/0/answer", { begun: 101, seconds: 2 }), tell.spoke("bob", 0, "2"),
  ]);
  assert.deepEqual([0, 1, 2, 3].map((k) => story.until(k).calls.length), [0, 0, 1, 2]);
});

test("what is shown never changes in place, and is the same as long as nothing has changed", () => {
  const tell = teller(), inner = teller("ann/0/answer", 1_000), story = new Story();
  story.add([run({ status: "running" }), tell.started(["ann", "bob"]), inner.started(["x"]), tell.speaking("ann", 0)]);
  const first = story.snapshot();
  assert.equal(story.snapshot().main, first.main);
  story.add([{ type: "wrote", path: "", agent: "ann", round: 0, phase: "answer", text: "Let", first: true }]);
  const second = story.snapshot();
  assert.equal(first.main?.speaking.get(keyOf("ann", 0, "answer"))?.wrote, "");
  assert.equal(second.main?.speaking.get(keyOf("ann", 0, "answer"))?.wrote, "Let");
  assert.equal(second.debates.get("ann/0/answer"), first.debates.get("ann/0/answer"));
  story.add([call(1, "ann/0/answer"), tell.spoke("ann", 0, "4")]);
  assert.equal(second.main?.turns.length, 0);
  assert.equal(second.calls.length, 0);
  const third = story.snapshot();
  assert.equal(third.main?.turns[0]?.text, "said ann/0/answer");
  assert.equal(third.main?.speaking.size, 0);
});

test("nobody speaks any more in a run that has been interrupted", () => {
  const tell = teller(), story = new Story().add([run({ status: "running" }), tell.started(["ann"]), tell.speaking("ann", 0)]);
  assert.equal(story.snapshot().main?.speaking.size, 1);
  story.add([run({ status: "interrupted" })]);
  assert.equal(story.snapshot().main?.speaking.size, 0);
  assert.equal(story.until(2).main?.speaking.size, 0);
});

test("what is told twice counts once, as where a connection was lost", () => {
  const records = long(3, 4), once = new Story().add(records), twice = new Story().add(records).add(records);
  assert.equal(twice.calls.length, once.calls.length);
  assert.deepEqual(plain(twice.debates), plain(once.debates));
});

test("a resumed run begins again, and a turn that is told anew keeps its place", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["ann", "bob"]), tell.spoke("ann", 0, "1"), tell.spoke("bob", 0, undefined, [], { error: "bob: gone" }),
    tell.started(["ann", "bob"]), tell.spoke("bob", 0, "2"), tell.spoke("ann", 0, "1"),
  ]);
  const turns = story.main?.turns ?? [];
  assert.deepEqual(turns.map(({ n, agent, answer, error }) => [n, agent, answer, error]), [[0, "ann", "1", null], [1, "bob", "2", null]]);
  assert.equal(story.main?.byKey.get(keyOf("bob", 0, "answer")), turns[1]);
});

test("a turn says how it came about: asked, kept, a group, absent", () => {
  const tell = teller(), story = new Story().add([
    run(), tell.started(["ann", "bob", "panel", "dan"]), tell.speaking("ann", 0), call(1, "ann/0/answer"), tell.spoke("ann", 0, "1"),
    tell.spoke("bob", 0, "1", [], { text: "as before", chars: 9 }),
    tell.speaking("panel", 0), tell.spoke("panel", 0, "1", [], { text: "we say", chars: 6 }),
    tell.speaking("dan", 0), tell.spoke("dan", 0, undefined, [], { error: "dan: gone" }),
  ]);
  const said = (story.main?.turns ?? []).map(({ kept, call: asked, text, error, answers }) => [kept, asked?.id ?? null, text, error, answers]);
  assert.deepEqual(said, [
    [false, 1, "said ann/0/answer", null, true], [true, null, "as before", null, true],
    [false, null, "we say", null, true], [false, null, null, "dan: gone", false],
  ]);
});

test("where an agent stands may be told after the debate has begun", () => {
  const tell = teller(), story = new Story().add([run({ status: "running" }), tell.started(["ann"])]);
  assert.equal(story.snapshot().main?.layout, null);
  story.add([{ type: "layout", path: "", at: [[1, 2]], names: "out" }]);
  assert.deepEqual(story.snapshot().main?.layout?.at, [[1, 2]]);
  assert.deepEqual(story.until(1).main?.layout?.at, [[1, 2]]);
});
