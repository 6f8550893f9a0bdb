// The marks of answers: a letter and a colour each, in the order in which the answers came up.

export interface Mark { index: number; sign: string }
export type Marks = Map<string, Mark>;

const signOf = (index: number): string =>
  (index < 26 ? "" : signOf(Math.floor(index / 26) - 1)) + String.fromCharCode(65 + (index % 26));

// Of answers in any order that stays the same as more come in: those of a debate's turns, oldest first. `null` has no mark.
export function marksOf(answers: readonly (string | null)[]): Marks {
  const marks: Marks = new Map();
  for (const answer of answers)
    if (answer !== null && !marks.has(answer)) marks.set(answer, { index: marks.size, sign: signOf(marks.size) });
  return marks;
}

// The colour of a mark, for `style` or an SVG's `fill`.
export const colourOf = (mark: Mark | undefined): string => (mark === undefined ? "var(--soft)" : `var(--a${mark.index % 8})`);
