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
const TRIES = 5_000; // places that are looked at for one text: a message can be millions of them
const THINKING = /<thinking>[\s\S]*?(?:<\/thinking>|$)/gi;
const CONFIDENCE = /^[\s*_]*confidence[\s*_]*[:=][\s*_]*\d{1,3}(?:\.\d+)?\s*%?/gim;
const DONE = /^[\s*_]*done[\s*_]*[:=][\s*_]*(?:yes|no)[\s*_.]*$/gim;
const OWN = /^your last answer/i;

// What others are shown of a text: without its thinking, how sure it is, and whether it is done (as agora.answers.bare).
export const bare = (text: string): string => text.replace(THINKING, "").replace(CONFIDENCE, "").replace(DONE, "").trim();

type Spot = [message: number, at: number];
type Fits = (content: string, start: number, end: number) => boolean;

const LABELLED: Fits = (content, start, end) => /[:=] $/.test(content.slice(Math.max(0, start - 2), start)) && closed(content, end);
const FITS: Fits[] = [ // from the surest; the last is for texts that are long enough to be no others
  LABELLED,
  (content, start, end) => (start === 0 || content[start - 1] === "\n") && closed(content, end),
  (_, start, end) => end - start >= LEAST,
];
const closed = (content: string, end: number): boolean => /^($|[\s.;,)])/.test(content.slice(end, end + 1));

// What was found of turns in the messages of a prompt, in the order of the prompt, and what was not.
export function quotesIn(messages: readonly (readonly [string, string])[], candidates: readonly Candidate[]): { quotes: Quote[]; missing: Turn[] } {
  const found = new Map<Candidate, Quote>();
  const taken = messages.map((): [number, number][] => []);
  // long texts first: a short one, such as an answer alone, could stand within any
  for (const long of [true, false]) {
    let from: Spot = [0, 0]; // turns stand in the order in which they are read, mostly
    for (const candidate of candidates) {
      const way = found.has(candidate) ? undefined : waysOf(candidate).find(([words, how]) => {
        if (words === "" || words.length >= LEAST !== long) return false;
        const spot = spotOf(messages, words, candidate.own ? [0, 0] : from, taken, candidate.own);
        if (spot === null) return false;
        const [message, start] = spot, end = start + words.length;
        taken[message]!.push([start, end]);
        found.set(candidate, { message, start, end, turn: candidate.turn, how, label: labelAt(messages[message]![1], start), own: candidate.own });
        return true;
      });
      const quote = found.get(candidate);
      if (quote !== undefined && !candidate.own && (way !== undefined || quote.message >= from[0])) from = [quote.message, quote.end];
    }
  }
  const quotes = [...found.values()].sort((a, b) => a.message - b.message || a.start - b.start);
  return { quotes, missing: candidates.flatMap((one) => (one.own || found.has(one) ? [] : [one.turn])) };
}

function waysOf({ turn, text, digest, own }: Candidate): [string, How][] {
  const full = text?.trim() ?? "";
  const ways: [string, How][] = [[full, "full text"], [bare(full), /<thinking>/i.test(full) ? "without its thinking" : "but for how sure it is"], [digest?.trim() ?? "", "summary"]];
  return turn.answer === null || own ? ways : [...ways, [turn.answer.trim(), "answer only"]];
}

function spotOf(messages: readonly (readonly [string, string])[], text: string, from: Spot, taken: [number, number][][], own: boolean): Spot | null {
  for (const fits of FITS)
    for (const behind of [false, true]) // first what comes after the last that was found
      for (let m = behind ? 0 : from[0]; m < (behind ? Math.min(from[0] + 1, messages.length) : messages.length); m++) {
        const content = messages[m]![1], end = behind && m === from[0] ? from[1] : Infinity;
        let tries = 0;
        for (let at = content.indexOf(text, !behind && m === from[0] ? from[1] : 0); at >= 0 && at < end && tries < TRIES; at = content.indexOf(text, at + 1)) {
          tries++;
          const stop = at + text.length;
          if (taken[m]!.every(([a, b]) => stop <= a || at >= b) && fits(content, at, stop) && (own || !OWN.test(lineBefore(content, at)))) return [m, at];
        }
      }
  return null;
}

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
