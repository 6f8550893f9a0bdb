// What is open stands in the address, and comes back from it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING, read, written } from "../src/run/address";
import { keyOf, Story } from "../src/run/story";
import { steps, within } from "../src/run/within";
import { run, teller } from "./told";

test("what is open comes back as it was, whatever agents are called", () => {
  for (const agent of ["ann", "a&b=c#d", "شخص", "<script>", "100%", "a/1/b"]) {
    const opened = { debate: `${agent}/0/answer`, turn: keyOf(agent, 3, "revise"), agent };
    assert.deepEqual(read(written(opened)), opened);
  }
  assert.equal(written(NOTHING), "");
  assert.deepEqual(read(""), NOTHING);
});

test("a place of the page that the keyboard jumps to is not something else to show", () => {
  assert.equal(read("#main"), null);
});

test("debates within turns: from a turn to the debate in it, also where it is a member of a model", () => {
  const story = new Story().add([
    run(), teller().started(["panel", "ann"]), teller("panel/0/answer", 100).started(["x"]),
    teller("ann/1/revise/cascade/2", 200).started(["y"]), teller("panel/0/answer/x/0/answer", 300).started(["z"]),
  ]);
  const found = within(story, "");
  assert.equal(found.get("panel/0/answer"), "panel/0/answer");
  assert.equal(found.get("ann/1/revise"), "ann/1/revise/cascade/2");
  assert.equal(within(story, "panel/0/answer").get("panel/0/answer/x/0/answer"), "panel/0/answer/x/0/answer");
  assert.deepEqual(steps("panel/0/answer/x/0/answer"), ["panel/0/answer", "x/0/answer"]);
});
