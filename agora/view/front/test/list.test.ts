import assert from "node:assert/strict";
import test from "node:test";
import { addressOf, extended, filtered, filtersOf, inOrder, merged, moment, requestOf } from "../src/list/query";
import type { RunRecord, Status } from "../src/records";

const run = (id: string, status: Status = "done"): RunRecord => ({ id, status }) as RunRecord;
const ids = (runs: readonly RunRecord[]): string => runs.map((one) => one.id).join("");

test("filters live in the address, whatever they hold", () => {
  const address = "/?text=%3Cb%3E+%26+100%25&status=done&min_usd=0.5&items=1&sort=cost";
  const filters = filtersOf(new URLSearchParams(address.slice(2)));
  assert.equal(filters.text, "<b> & 100%");
  assert.equal(filters.sort, "cost");
  assert.equal(addressOf(filters), address);
  assert.equal(addressOf(filtersOf(new URLSearchParams(""))), "/");
  assert.equal(addressOf(filtersOf(new URLSearchParams("sort=created&junk=1&text="))), "/");
  assert.equal(filtersOf(new URLSearchParams("sort=__proto__")).sort, "created");
  assert.ok(filtered(filters));
  assert.ok(!filtered(filtersOf(new URLSearchParams("items=1&sort=cost"))));
});

test("what the server is asked", () => {
  const ask = (query: string) => Object.fromEntries(new URLSearchParams(requestOf(filtersOf(new URLSearchParams(query)), 1_000_000, 50).split("?")[1]));
  const plain = { sort: "created", items: "0", limit: "50" };
  assert.deepEqual(ask(""), plain);
  assert.deepEqual(ask("text=+a+&since=1h"), { ...plain, text: "a", since: "996400" });
  // what is no amount and no moment is no filter
  assert.deepEqual(ask("min_usd=cheap&max_usd=-1&since=yesterday&until=1d2"), plain);
  assert.deepEqual(ask("min_usd=0&max_usd=1e-3"), { ...plain, min_usd: "0", max_usd: "0.001" });
  assert.match(requestOf(filtersOf(new URLSearchParams("")), 0, 50, 100), /&offset=100$/);
});

test("a day begins and ends by the reader's clock", () => {
  const begins = new Date(2026, 9, 25).getTime() / 1000, ends = new Date(2026, 9, 26).getTime() / 1000;
  assert.equal(moment("2026-10-25", 0), begins);
  assert.equal(moment("2026-10-25", 0, true), ends);
  assert.equal(moment("7d", 700_000), 700_000 - 7 * 86_400);
  assert.equal(moment("99999999999d", 0), null);
});

test("the beginning told anew", () => {
  const before = ["a", "b", "c", "d", "e"].map((id) => run(id));
  // a new one came, b is no longer like that, the tail is still there
  assert.equal(ids(merged(before, [run("n"), run("a"), run("c")], true)), "nacde");
  // all there is
  assert.equal(ids(merged(before, [run("a")], false)), "a");
  // nothing of it is known: nobody can say where it goes on
  assert.equal(ids(merged(before, [run("x"), run("y")], true)), "xyabcde");
  assert.equal(ids(extended(before, [run("e"), run("f")])), "abcdef");
});

test("those that go on come first, unless the order is asked for", () => {
  const runs = [run("a"), run("b", "running"), run("c", "killed"), run("d", "running")];
  assert.equal(ids(inOrder(runs, "created")), "bdac");
  assert.equal(ids(inOrder(runs, "cost")), "abcd");
});
