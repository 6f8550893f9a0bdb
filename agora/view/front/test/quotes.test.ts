// Whose words stand where in a prompt: on prompts as agora's templates make them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bare, type Candidate, partsOf, quotesIn } from "../src/run/quotes";
import type { Turn } from "../src/run/story";

const turn = (agent: string, answer: string | null = null): Turn => ({ agent, round: 0, phase: "answer", key: agent, answer }) as Turn;
const said = (agent: string, text: string | null, answer: string | null = null, more: Partial<Candidate> = {}): Candidate =>
  ({ turn: turn(agent, answer), text, digest: null, own: false, ...more });
const found = (content: string, candidates: Candidate[]) => {
  const { quotes, missing } = quotesIn([["system", "You are careful."], ["user", content]], candidates);
  for (const quote of quotes) assert.equal(quote.message, 1);
  return [...quotes.map((q) => `${q.turn.agent}|${q.label}|${q.how}|${content.slice(q.start, q.end)}`), ...missing.map((t) => `-${t.agent}`)];
};
const LONG = "Working families can only come on Sundays, so it pays.";

test("named and anonymous peers, without what is not for others", () => {
  const told = `${LONG}\nAnswer: yes\nConfidence: 80%\nDone: no`;
  assert.equal(bare(told), `${LONG}\nAnswer: yes`);
  assert.deepEqual(found(`Question: q\n\nPeer 1 (confidence 80%): ${LONG}\nAnswer: yes\n\nCheck.`, [said("ann", told)]),
    [`ann|Peer 1|but for how sure it is|${LONG}\nAnswer: yes`]);
  assert.deepEqual(found(`Round 0, bob: ${LONG}\n`, [said("bob", ` ${LONG} `)]), [`bob|Round 0, bob|full text|${LONG}`]);
});

test("the same words twice are told apart by their order", () => {
  assert.deepEqual(found(`Peer 1: ${LONG}\n\nPeer 2: ${LONG}\n`, [said("cy", LONG), said("ann", LONG)]),
    [`cy|Peer 1|full text|${LONG}`, `ann|Peer 2|full text|${LONG}`]);
});

test("answers alone, also where a reader's own is the same or they stand within texts", () => {
  assert.deepEqual(found("Your last answer: 7\n\nPeer 1: 7\n\nPeer 2: 7\n", [said("ann", "I say 7", "7"), said("bob", "Seven: 7", "7"), said("me", "7", "7", { own: true })]),
    ["me|Your last answer|full text|7", "ann|Peer 1|answer only|7", "bob|Peer 2|answer only|7"]);
  assert.deepEqual(found("Q: what?\nlikely P1: 142\nguess P2: 144\nA: ", [said("ann", "40+43=83", "142"), said("bob", "x", "144")]),
    ["ann|likely P1|answer only|142", "bob|guess P2|answer only|144"]);
  assert.deepEqual(found(`Peer 1: ${LONG}\nAnswer: 7\n\nPeer 2: Answer: 7\n`, [said("ann", "Answer: 7", "7"), said("bob", `${LONG}\nAnswer: 7`, "7")]),
    [`bob|Peer 1|full text|${LONG}\nAnswer: 7`, "ann|Peer 2|full text|Answer: 7"]);
});

test("a short text is not found within words, and what is not there is missing", () => {
  assert.deepEqual(found("There are 17 of 7s and 7even.", [said("ann", "x", "7")]), ["-ann"]);
  assert.deepEqual(found("", [said("ann", null)]), ["-ann"]);
});

test("summaries are known by the moderator's digest", () => {
  assert.deepEqual(found("Peer 1: It pays, says this one, for families.\n", [said("ann", "long and other", null, { digest: "It pays, says this one, for families." })]),
    ["ann|Peer 1|summary|It pays, says this one, for families."]);
});

test("parts are whole lines, and joined they are the message", () => {
  for (const content of [`Question\n\nPeer 1: ${LONG}\nPeer 2: yes it is.\n\nEnd`, `Peer 1: ${LONG}`, "", `${LONG}\n${LONG}`]) {
    const { quotes } = quotesIn([["user", content]], [said("a", LONG), said("b", LONG), said("c", "yes it is.")]);
    const parts = partsOf(content, quotes);
    assert.equal(parts.map((part) => content.slice(part.start, part.end)).join(""), content);
    assert.equal(parts.flatMap((part) => part.quotes).length, quotes.length);
    for (const part of parts) assert.ok(part.start === 0 || content[part.start - 1] === "\n");
  }
});

test("quotes of several lines that share one do not overlap", () => {
  const content = "Peer 1: one text of some length here and another text of some length\n";
  const { quotes } = quotesIn([["user", content]], [said("a", "one text of some length here"), said("b", "another text of some length")]);
  assert.equal(quotes.length, 2);
  assert.deepEqual(partsOf(content, quotes).map((part) => part.quotes.length), [2]);
});

test("many long messages are all found", () => {
  const texts = Array.from({ length: 300 }, (_, i) => `${i} ${LONG.repeat(20)}`);
  const content = texts.map((text, i) => `Peer ${i}: ${text}\n`).join("\n");
  assert.equal(quotesIn([["user", content]], texts.map((text, i) => said(`a${i}`, text))).quotes.length, 300);
});
