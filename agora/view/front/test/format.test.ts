import assert from "node:assert/strict";
import test from "node:test";
import { compact, count, duration, money, percent, plural, range, ratio } from "../src/format";

test("what a run cost: unknown is never zero", () => {
  const cases: [number | null, string][] = [
    [null, "unknown"], [0, "$0"], [0.00001, "<$0.0001"], [0.00005, "$0.0001"], [0.0123, "$0.0123"], [1, "$1.0000"],
    [9.99999, "$10.0000"], [10, "$10.00"], [12345.678, "$12,345.68"],
  ];
  for (const [usd, text] of cases) assert.equal(money(usd), text);
});

test("counts, whole and in three figures", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.equal(plural(1, "call"), "1 call");
  assert.equal(plural(0, "call"), "0 calls");
  assert.equal(plural(1200, "entry", "entries"), "1,200 entries");
  const cases: [number, string][] = [
    [0, "0"], [940, "940"], [999, "999"], [1000, "1k"], [1234, "1.23k"], [12_345, "12.3k"], [100_000, "100k"],
    [999_499, "999k"], [999_600, "1M"], [4_560_000, "4.56M"], [2_000_000_000, "2G"],
  ];
  for (const [n, text] of cases) assert.equal(compact(n), text);
});

test("no duration has sixty seconds or minutes", () => {
  const cases: [number, string][] = [
    [0, "0 s"], [-1, "0 s"], [0.001, "<0.01 s"], [0.25, "0.25 s"], [0.999, "1.0 s"], [9.94, "9.9 s"], [9.96, "10 s"], [59.4, "59 s"],
    [59.6, "1 min 00 s"], [61, "1 min 01 s"], [3599.4, "59 min 59 s"], [3599.6, "1 h 00 min"], [7199, "2 h 00 min"], [36_000_000, "10,000 h 00 min"],
  ];
  for (const [seconds, text] of cases) assert.equal(duration(seconds), text);
});

test("from the least to the most", () => {
  assert.equal(range(4, 12, count), "4 to 12");
  assert.equal(range(4, 4, count), "4");
  assert.equal(range(0, 0, money), "$0");
  assert.equal(range(null, null, money), "unknown");
  assert.equal(range(0.5, null, money), "at least $0.5000");
  assert.equal(range(null, 3, count), "at most 3");
});

test("a ratio where there is one", () => {
  assert.equal(ratio(4, 4), "the same");
  assert.equal(ratio(2, 3), "× 1.50");
  assert.equal(ratio(9, 0.171), "× 0.019");
  assert.equal(ratio(1, 25), "× 25");
  assert.equal(ratio(1, 2500), "× 2,500");
  for (const [a, b] of [[0, 1], [1, 0], [null, 1], [1, null]] as const) assert.equal(ratio(a, b), null);
  assert.equal(percent(0.666), "67 %");
});
