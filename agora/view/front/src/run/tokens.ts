// Figures of tokens with log-probabilities: how likely each was, who of a fused model's members liked it most.

import type { TokenRow } from "../records";
import { piecesOf } from "../odd";

export interface Tok {
  text: string;
  shown: string; // white space as signs
  p: number; // 0 to 1
  top: [string, number][]; // with probabilities
  by: [string, number][];
  disagreement: number | null;
  liked: number | null; // which member gave it most; null: none, or several alike
}

const SIGNS: Record<string, string> = { " ": "·", "\n": "↵\n", "\t": "→\t", "\u00a0": "⍽" };
// JSON has no infinity: null is the log-probability of what cannot be. NaN stays NaN: it is not known.
export const chance = (logprob: number | null): number => (logprob === null ? 0 : Math.min(1, Math.exp(logprob)));
export const signed = (text: string): string =>
  text === "" ? "∅" : text.replace(/[ \n\t\u00a0]/g, (c) => SIGNS[c]!);

export function tokensOf(rows: readonly TokenRow[]): Tok[] {
  return rows.map(([text, logprob, top, by = [], disagreement = null]) => {
    const most = by.length > 1 ? Math.max(...by.map(([, p]) => p)) : NaN;
    const best = by.flatMap(([, p], i) => (p === most ? [i] : []));
    return {
      text, shown: signed(text), p: chance(logprob), top: top.map(([t, p]) => [t, chance(p)]),
      by: by.map(([name, p]) => [name, chance(p)]), disagreement, liked: best.length === 1 ? best[0]! : null,
    };
  });
}

// Steps of a scale that is told by more than colour: 0 is what is as it should be, 4 what deserves a look.
export const UNSURE = [0.9, 0.6, 0.3, 0.1]; // probabilities
export const APART = [0.02, 0.1, 0.25, 0.5]; // disagreements
export const unsure = (p: number): number => UNSURE.filter((edge) => !(p >= edge)).length;
export const apart = (d: number | null): number => (d === null ? 0 : APART.filter((edge) => d >= edge).length);

// A token in words: what does not show itself by name.
export const spelled = (text: string): string =>
  piecesOf(text).map((piece) => (typeof piece === "string" ? signed(piece).replaceAll("\n", "").replaceAll("\t", "") : `[${piece.label}]`)).join("") || "∅";
