// Tokens: probabilities, steps of the scale, the member that liked one most, and what does not show itself.

import assert from "node:assert/strict";
import { test } from "node:test";
import { apart, chance, signed, spelled, tokensOf, unsure } from "../src/run/tokens";

test("log-probabilities become probabilities, and who gave most is the one who liked it", () => {
  const [token, even, bare] = tokensOf([
    [" a", Math.log(0.25), [[" b", Math.log(0.5)]], [["x", -2], ["y", -1], ["z", -3]], 0.4],
    ["c", 0, [], [["x", -1], ["y", -1]], 0], ["d", 1e-9, []],
  ]);
  assert.ok(Math.abs(token!.p - 0.25) < 1e-12 && Math.abs(token!.top[0]![1] - 0.5) < 1e-12);
  assert.equal(token!.liked, 1);
  assert.equal(even!.liked, null);
  assert.equal(chance(null), 0);
  assert.deepEqual([bare!.p, bare!.by, bare!.disagreement, bare!.liked], [1, [], null, null]);
});

test("steps: the less likely, the higher; what is no number is the highest", () => {
  assert.deepEqual([1, 0.9, 0.89, 0.6, 0.5, 0.2, 0.05, 0, NaN].map(unsure), [0, 0, 1, 1, 2, 3, 4, 4, 4]);
  assert.deepEqual([null, 0, 0.02, 0.2, 0.3, 1].map(apart), [0, 0, 1, 2, 3, 4]);
});

test("white space and what does not show itself are seen", () => {
  assert.equal(signed(" a\n\tb"), "·a↵\n→\tb");
  assert.deepEqual(["", " ", "\n", "a\u202e", "<b>"].map(spelled), ["∅", "·", "↵", "a[RLO]", "<b>"]);
});
