// Marks are letters in the order in which answers came up.

import assert from "node:assert/strict";
import { test } from "node:test";
import { marksOf } from "../src/run/marks";

test("first come, first marked; no answer has no mark", () => {
  assert.deepEqual([...marksOf(["7", null, "9", "7"])], [["7", { index: 0, sign: "A" }], ["9", { index: 1, sign: "B" }]]);
  assert.equal(marksOf(["__proto__", "constructor"]).get("constructor")?.sign, "B");
});

test("letters do not run out", () => {
  const signs = [...marksOf(Array.from({ length: 1_000 }, (_, i) => String(i))).values()].map((mark) => mark.sign);
  assert.equal(new Set(signs).size, 1_000);
  assert.deepEqual([signs[25], signs[26], signs[51], signs[52], signs[701], signs[702]], ["Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
});
