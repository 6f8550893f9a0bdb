// Where what others said stands within a prompt: found word for word, never guessed.

import type { Turn } from "./story";

export type How = "full text" | "without its thinking" | "but for how sure it is" | "summary" | "answer only";
export interface Quote {
  message: number; // index
  start: number;
  end: number;
  turn: Turn;
  how: How;
  label: string | null; // what its speaker is called there
  own: boolean; // the reader said it itself
}
export interface Candidate { turn: Turn; text: string | null; digest: string | null; own: boolean }

const LEAST = 24; // characters from which a text is found anywhere; shorter ones only where a line begins or after a colon
const THINKING = /<thinking>[\s\S]*?(?:<\/thinking>|$)/gi;
const CONFIDENCE = /^[\s*_]*confidence[\s*_]*[:=][\s*_]*\d{1,3}(?:\.\d+)?\s*%?/gim;
const DONE = /^[\s*_]*done[\s*_]*[:=][\s*_]*(?:yes|no)[\s*_.]*$/gim;
const OWN = /^your last answer/i;

// What others are shown of a text: without its thinking, how sure it is, and whether it is done (as agora.answers.bare).
export const bare = (text: string): string => text.replace(THINKING, "").replace(CONFIDENCE, "").replace(DONE, "").trim();

// What was found of turns in the messages of a prompt, in the order of the prompt, and what was not.
export function quotesIn(messages: readonly (readonly [string, string])[], candidates: readonly Candidate[]): { quotes: Quote[]; missing: Turn[] } {
  const quotes: Quote[] = [], missing: Turn[] = [];
  const taken = messages.map((): [number, number][] => []);
  const from = { message: 0, at: 0 }; // turns stand in the order in which they are read, mostly
  const place = ({ turn, own }: Candidate, text: string, how: How): boolean => {
    const inOrder: [number, number, number][] = [];
    for (let m = from.message; m < messages.length; m++) inOrder.push([m, m === from.message ? from.at : 0, Infinity]);
    for (let m = 0; m <= from.message && m < messages.length; m++) inOrder.push([m, 0, m === from.message ? from.at : Infinity]);
    for (const [m, begin, end] of own ? messages.map((_, m): [number, number, number] => [m, 0, Infinity]) : inOrder) {
      const content = messages[m]![1];
      const start = free(content, text, begin, end, taken[m]!, own);
      if (start < 0) continue;
      const stop = start + text.length;
      taken[m]!.push([start, stop]);
      quotes.push({ message: m, start, end: stop, turn, how, label: labelAt(content, start), own });
      if (!own) [from.message, from.at] = [m, stop];
      return true;
    }
    return false;
  };
  for (const candidate of candidates) {
    const text = candidate.text?.trim() ?? "", short = bare(text), digest = candidate.digest?.trim() ?? "";
    const ways: [string, How][] = [[text, "full text"], [short, /<thinking>/i.test(text) ? "without its thinking" : "but for how sure it is"], [digest, "summary"]];
    if (candidate.turn.answer !== null && !candidate.own) ways.push([candidate.turn.answer.trim(), "answer only"]);
    if (!ways.some(([words, how]) => words !== "" && place(candidate, words, how)) && !candidate.own) missing.push(candidate.turn);
  }
  quotes.sort((a, b) => a.message - b.message || a.start - b.start);
  return { quotes, missing };
}

function free(content: string, text: string, begin: number, end: number, taken: readonly [number, number][], own: boolean): number {
  for (let at = content.indexOf(text, begin); at >= 0 && at < end; at = content.indexOf(text, at + 1)) {
    const stop = at + text.length;
    const apart = taken.every(([a, b]) => stop <= a || at >= b);
    if (apart && (text.length >= LEAST || bounded(content, at, stop)) && (own || !OWN.test(lineBefore(content, at)))) return at;
  }
  return -1;
}

const bounded = (content: string, start: number, end: number): boolean =>
  /(^|\n|: |= )$/.test(content.slice(Math.max(0, start - 2), start)) && /^($|[\s.;,)])/.test(content.slice(end, end + 1));

const lineBefore = (content: string, at: number): string =>
  content.slice(Math.max(content.lastIndexOf("\n", at - 1) + 1, at - 200), at);

function labelAt(content: string, start: number): string | null {
  return /^(.{1,120}?)(?: \((?:confidence )?[^()]{0,30}\))?: ?$/.exec(lineBefore(content, start))?.[1] ?? null;
}

export interface Part { start: number; end: number; quotes: Quote[] } // whole lines

// A message cut at ends of lines into what holds quotes and what does not; joined, they are the message.
export function partsOf(content: string, quotes: readonly Quote[]): Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (const quote of quotes) {
    const start = content.lastIndexOf("\n", quote.start - 1) + 1;
    const newline = content.indexOf("\n", Math.max(quote.start, quote.end - 1));
    const end = newline < 0 ? content.length : newline + 1;
    const last = parts.at(-1);
    if (last !== undefined && last.quotes.length > 0 && start < last.end) {
      last.quotes.push(quote);
      last.end = Math.max(last.end, end);
    } else {
      if (start > at) parts.push({ start: at, end: start, quotes: [] });
      parts.push({ start, end, quotes: [quote] });
    }
    at = parts.at(-1)!.end;
  }
  if (at < content.length) parts.push({ start: at, end: content.length, quotes: [] });
  return parts;
}
