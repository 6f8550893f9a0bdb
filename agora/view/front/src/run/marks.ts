// The mark of each answer: a letter and one of eight colours, in the order they came up.

export interface Mark { index: number; sign: string }
export type Marks = Map<string, Mark>;

export function marksOf(answers: readonly (string | null)[]): Marks {
  const marks: Marks = new Map();
  for (const answer of answers) {
    if (answer === null || marks.has(answer)) continue;
    const index = marks.size;
    marks.set(answer, { index, sign: String.fromCharCode(65 + (index % 26)) + (index < 26 ? "" : String(Math.floor(index / 26) + 1)) });
  }
  return marks;
}
