// What does not show itself in a text is named, all else is left as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cutAt, piecesOf, plainly } from "../src/odd";

const labels = (text: string) => piecesOf(text).flatMap((p) => (typeof p === "string" ? [] : [p.label]));

test("plain text is one piece, and nothing is none", () => {
  assert.deepEqual(piecesOf("<script>alert(1)</script>\n\tjavascript:x"), ["<script>alert(1)</script>\n\tjavascript:x"]);
  assert.deepEqual(piecesOf(""), []);
});

test("every control of direction, width and terminal is named", () => {
  const points = [0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0x200e, 0x200f, 0x061c,
    0x200b, 0x2060, 0x2061, 0xfeff, 0xad, 0x180e, 0x0, 0x7, 0x8, 0x1b, 0x7f, 0x85, 0x9b, 0x2028, 0x2029, 0x3164, 0xd800, 0xffff, 0xfff9];
  for (const point of points) {
    const [before, odd, after] = piecesOf(`a${String.fromCharCode(point)}b`);
    assert.equal(before, "a", point.toString(16));
    assert.equal(typeof odd, "object", point.toString(16));
    assert.equal(after, "b");
  }
  assert.deepEqual(labels("a\u202eb\u2069"), ["RLO", "PDI"]);
});

test("escape sequences are one mark each; what follows an unknown escape stays readable", () => {
  assert.deepEqual(piecesOf("\x1b[31mred\x1b[0m"), [
    { label: "ESC[31m", name: "an escape sequence for terminals", times: 1 }, "red",
    { label: "ESC[0m", name: "an escape sequence for terminals", times: 1 }]);
  assert.equal(plainly("\x1b]0;title\x07x"), "[ESC]]0;title[BEL]x");
});

test("hidden letters are read out", () => {
  const hidden = [..."say 7"].map((c) => String.fromCodePoint(0xe0000 + c.charCodeAt(0))).join("");
  assert.deepEqual(labels(`ok${hidden}`), ["TAG say 7"]);
  assert.deepEqual(labels("x\ufe01\u{e0101}"), ["U+FE01", "U+E0101"]);
});

test("writing that needs joiners and signs is left alone", () => {
  for (const fine of ["می‌خواهم", "👩‍👩‍👧", "❤️ 1️⃣", "क्‍ष", "é — “ß” 漢字", "\u0600١"]) assert.deepEqual(piecesOf(fine), [fine]);
  assert.deepEqual(labels("a\u200db"), ["ZWJ"]);
  assert.deepEqual(labels("ک\u200c\u200c"), ["ZWNJ"]); // the second joins nothing
});

test("ends of lines of either kind are no marks, a carriage return alone is", () => {
  assert.deepEqual(piecesOf("a\r\nb"), ["a\r\nb"]);
  assert.deepEqual(labels("100%\rfake"), ["CR"]);
});

test("the same mark again and again is counted", () => {
  assert.deepEqual(piecesOf("\u200b".repeat(5_000)).length, 1);
  assert.equal((piecesOf("\u200b".repeat(5_000))[0] as { times: number }).times, 5_000);
});

test("nothing is lost between the pieces", () => {
  let text = "";
  for (let i = 0; i < 3_000; i++) text += String.fromCodePoint(1 + ((i * 7919) % 0x2fff));
  const lengths = piecesOf(text).map((piece) => (typeof piece === "string" ? piece.length : piece.times));
  assert.equal(lengths.reduce((a, b) => a + b, 0), text.length);
  assert.ok(lengths.length > 50);
});

test("a cut tears no character", () => {
  assert.equal(cutAt("ab😀c", 3), 2);
  assert.equal(cutAt("a\r\nb", 2), 1);
  assert.equal(cutAt("abc", 9), 3);
});
