import assert from "node:assert/strict";
import test from "node:test";
import { ago, exact, iso, left } from "../src/time";

const TODAY = new Date(2026, 10, 24, 12, 0, 0).getTime() / 1000;

test("ages, in the fewest words", () => {
  const cases: [number, string][] = [
    [0, "just now"], [-30, "just now"], [7, "7 s ago"], [59.9, "59 s ago"], [60, "1 min ago"], [3599, "59 min ago"], [3600, "1 h ago"],
    [86_399, "23 h ago"], [86_400, "1 d ago"], [6.9 * 86_400, "6 d ago"], [8 * 86_400, "16 Nov"], [400 * 86_400, "20 Oct 2025"], [-86_400, "25 Nov"],
  ];
  for (const [age, text] of cases) assert.equal(ago(TODAY - age, TODAY), text);
});

test("moments to the second", () => {
  assert.equal(exact(TODAY + 61.9), "24 Nov 2026, 12:01:01");
  assert.equal(iso(0), "1970-01-01T00:00:00.000Z");
});

test("what is left is never less than nothing, and a second that has begun counts", () => {
  const cases: [number, string][] = [[0, "0:00"], [-5, "0:00"], [0.2, "0:01"], [9, "0:09"], [60, "1:00"], [247, "4:07"], [3900, "1:05:00"]];
  for (const [seconds, text] of cases) assert.equal(left(TODAY + seconds, TODAY), text);
});
