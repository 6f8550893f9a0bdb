import assert from "node:assert/strict";
import test from "node:test";
import { BLANK, bodyOf, fieldsOf, type Fields, matching, openEnd, readyFirst, usual } from "../src/new/form";
import { reading } from "../src/new/preview";

const filled = (some: Partial<Fields>): Fields => ({ ...BLANK, question: " How many? ", models: ["a", "a"], ...some });

test("what is sent is what the contract has", () => {
  assert.deepEqual(bodyOf(filled({})), {
    body: { preset: null, models: ["a", "a"], answer: null, rounds: null, topology: null, person: null, question: "How many?", usd: null },
  });
  assert.deepEqual(bodyOf(filled({ source: "preset:mad", answer: "number", rounds: "0", topology: "ring", sits: true, person: " Ida ", usd: "0.5" })), {
    body: { preset: "mad", models: ["a", "a"], answer: "number", rounds: 0, topology: "ring", person: "Ida", question: "How many?", usd: 0.5 },
  });
  // a file has all but the question: what was filled in before does not go with it
  assert.deepEqual(bodyOf(filled({ source: "file:a:b", rounds: "x", usd: "1" })), { body: { file: "a:b", question: "How many?", usd: 1 } });
  // a name that was written before the box was cleared is not sent
  assert.equal((bodyOf(filled({ person: "Ida" })) as { body: { person: unknown } }).body.person, null);
});

test("what is missing or wrong is said before anybody is asked", () => {
  assert.deepEqual(bodyOf(filled({ question: "  " })), { lacks: "a question" });
  assert.deepEqual(bodyOf(filled({ models: [] })), { lacks: "a model" });
  for (const usd of ["0", "-1", "a lot", "Infinity", "1,5"]) assert.ok("wrong" in bodyOf(filled({ usd })), usd);
  for (const rounds of ["1.5", "-1", "1001", "many"]) assert.ok("wrong" in bodyOf(filled({ rounds })), rounds);
  assert.ok("wrong" in bodyOf(filled({ sits: true, person: " " })));
});

test("an address fills the form in", () => {
  const fields = fieldsOf(new URLSearchParams("preset=mad&question=Q%3F&model=a&model=b"), BLANK);
  assert.deepEqual([fields.source, fields.question, fields.models], ["preset:mad", "Q?", ["a", "b"]]);
  assert.deepEqual(fieldsOf(new URLSearchParams(""), filled({})), filled({}));
});

test("which models are offered", () => {
  assert.equal(openEnd("openai:NAME"), "openai:");
  assert.equal(openEnd("hf:FOLDER"), "hf:");
  assert.equal(openEnd("openai:gpt-5-mini"), null);
  const found = (model: string, ready = true) => ({ model, ready, needs: "" });
  const box = ["base", "sum", "mul", "sort", "mod"].map((name) => found(`pocket:${name}`));
  assert.deepEqual(readyFirst([found("x", false), found("y"), found("z", false)]).map((one) => one.model), ["y", "x", "z"]);
  assert.deepEqual(usual([found("openai:NAME"), ...box]), ["pocket:sum", "pocket:mul", "pocket:sort", "pocket:mod"]);
  assert.deepEqual(usual([...box, found("openai:llama3"), found("openai:big", false)]), Array(3).fill("openai:llama3"));
  assert.deepEqual(usual([]), []);
});

test("a protocol is found by all of the words, in whatever they stand", () => {
  const presets = [
    { name: "mad", title: "tit for tat", paper: "Liang et al. 2023", tags: ["judge"] }, { name: "delphi", title: "anonymous", paper: "", tags: [] },
  ];
  const names = (words: string) => matching(presets, words).map((one) => one.name);
  assert.deepEqual(names(""), ["mad", "delphi"]);
  assert.deepEqual(names("LIANG judge"), ["mad"]);
  assert.deepEqual(names("liang anonymous"), []);
});

test("who reads whom, also of a graph that names nobody", () => {
  const agents = [{ name: "ann", model: "x" }, { name: "bob", model: "y" }];
  assert.deepEqual(reading({ agents, edges: [[0, 1], [7, 1], [0, 9]] }).map((one) => one.reads), [[], ["ann"]]);
});
