// Characters that do not show themselves: found in a text, and named, so that what a reader sees is what is there.

export interface Odd { label: string; name: string; times: number }
export type Piece = string | Odd;

const NAMES: Record<number, [label: string, name: string]> = {
  0x00: ["NUL", "null"], 0x07: ["BEL", "bell"], 0x08: ["BS", "backspace"], 0x0b: ["VT", "vertical tab"],
  0x0c: ["FF", "form feed"], 0x0d: ["CR", "carriage return"], 0x1b: ["ESC", "escape"], 0x7f: ["DEL", "delete"],
  0x85: ["NEL", "next line"], 0xad: ["SHY", "soft hyphen"], 0x34f: ["CGJ", "combining grapheme joiner"],
  0x61c: ["ALM", "Arabic letter mark"], 0x115f: ["HCF", "Hangul filler"], 0x1160: ["HJF", "Hangul filler"],
  0x17b4: ["KIV", "Khmer inherent vowel"], 0x17b5: ["KIV", "Khmer inherent vowel"],
  0x180e: ["MVS", "Mongolian vowel separator"], 0x200b: ["ZWSP", "zero width space"], 0x200c: ["ZWNJ", "zero width non-joiner"],
  0x200d: ["ZWJ", "zero width joiner"], 0x200e: ["LRM", "left-to-right mark"], 0x200f: ["RLM", "right-to-left mark"],
  0x2028: ["LSEP", "line separator"], 0x2029: ["PSEP", "paragraph separator"], 0x202a: ["LRE", "left-to-right embedding"],
  0x202b: ["RLE", "right-to-left embedding"], 0x202c: ["PDF", "pop directional formatting"],
  0x202d: ["LRO", "left-to-right override"], 0x202e: ["RLO", "right-to-left override"], 0x2060: ["WJ", "word joiner"],
  0x2066: ["LRI", "left-to-right isolate"], 0x2067: ["RLI", "right-to-left isolate"], 0x2068: ["FSI", "first strong isolate"],
  0x2069: ["PDI", "pop directional isolate"], 0x3164: ["HF", "Hangul filler"], 0xfeff: ["BOM", "zero width no-break space"],
  0xffa0: ["HF", "Hangul filler"],
};

// What is left alone: signs of format that are seen; joiners and variants where writing or a pictograph needs them.
const SEEN = "\\u0600-\\u0605\\u06dd\\u0890\\u0891\\u08e2\\u{110bd}\\u{110cd}";
const FINDS = [
  "\\x1b\\[[0-?]{0,40}[ -/]{0,8}[@-~]", // a terminal's escape sequence
  "[\\u{e0000}-\\u{e007f}]+", // letters that nobody sees
  "(?<![\\p{Lo}\\p{M}\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\ufe0f])[\\u200c\\u200d]",
  "(?<![\\p{Lo}\\p{Extended_Pictographic}#*0-9])[\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]",
  `(?![${SEEN}\\u200c\\u200d\\t\\n])[\\p{Cf}\\p{Cc}]`,
  "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u2028\\u2029\\u3164\\uffa0\\p{Cs}\\p{Noncharacter_Code_Point}]",
];
const ODD = new RegExp(FINDS.join("|"), "gu");
const PLAIN = /^[\t\n\x20-\x7e]*$/;

const code = (point: number): string => `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;

function named(found: string): Odd {
  const point = found.codePointAt(0)!;
  if (point === 0x1b && found.length > 1)
    return { label: `ESC${found.slice(1)}`, name: "an escape sequence for terminals", times: 1 };
  if (point >= 0xe0000 && point <= 0xe007f) {
    const hidden = [...found].map((c) => c.codePointAt(0)! - 0xe0000).map((c) => (c < 32 || c > 126 ? "?" : String.fromCharCode(c)));
    return { label: `TAG ${hidden.join("")}`, name: "tag characters, which are not seen but read by models", times: 1 };
  }
  const [label, name] = NAMES[point] ?? [code(point), "a character that is not seen"];
  return { label, name: `${code(point)} ${name}`, times: 1 };
}

// A text as what shows itself and what does not; the same odd character again and again is one piece.
export function piecesOf(text: string): Piece[] {
  if (PLAIN.test(text)) return text === "" ? [] : [text];
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(ODD)) {
    const start = match.index, end = start + match[0].length;
    if (match[0] === "\r" && text[end] === "\n") continue; // the end of a line
    if (start > at) pieces.push(text.slice(at, start));
    at = end;
    const odd = named(match[0]);
    const last = pieces.at(-1);
    if (typeof last === "object" && last.label === odd.label && last.name === odd.name) last.times += 1;
    else pieces.push(odd);
  }
  if (at < text.length) pieces.push(text.slice(at));
  return pieces;
}

// The same as one plain line, for titles and labels that cannot hold marks.
export const plainly = (text: string): string =>
  piecesOf(text).map((piece) => (typeof piece === "string" ? piece : `[${piece.label}]`)).join("");

// Where to cut a text so that no character is torn: at `end` or just before.
export function cutAt(text: string, end: number): number {
  if (end >= text.length) return text.length;
  const unit = text.charCodeAt(end);
  const torn = (unit >= 0xdc00 && unit <= 0xdfff) || (unit === 0x0a && text[end - 1] === "\r");
  return torn && end > 1 ? end - 1 : end;
}
