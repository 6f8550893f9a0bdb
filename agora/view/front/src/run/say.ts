// Figures and lists in words: what is not known says so, and is never zero.

// made once: to make one takes as long as to write a hundred numbers
const WRITERS = [0, 1, 2, 3, 4].map((digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const number = (value: number, digits: number): string => WRITERS[digits]!.format(value);

export const count = (value: number): string => number(value, 0);
export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;

export function usd(value: number | null): string {
  if (value === null) return "unknown";
  if (value === 0) return "$0";
  return value < 0.0001 ? "<$0.0001" : `$${number(value, value < 1 ? 4 : 2)}`;
}

export function seconds(value: number): string {
  if (value < 0.001) return "<1 ms";
  if (value < 1) return `${Math.round(value * 1_000)} ms`;
  if (value < 60) return `${number(value, value < 10 ? 1 : 0)} s`;
  const whole = Math.round(value), hours = Math.floor(whole / 3_600), minutes = Math.floor((whole % 3_600) / 60);
  return hours > 0 ? `${count(hours)} h ${minutes} min` : `${minutes} min${whole % 60 > 0 ? ` ${whole % 60} s` : ""}`;
}

export function percent(share: number): string {
  const value = share * 100;
  if (Number.isNaN(value)) return "unknown";
  if (share > 0 && value < 0.1) return "<0.1%";
  if (share < 1 && value > 99.9) return ">99.9%";
  return `${number(value, (share > 0 && value < 1) || (value > 99 && value < 100) ? 1 : 0)}%`;
}

export const weight = (value: number): string => (Number.isInteger(value) ? count(value) : number(value, 2));

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
export const clock = (at: number): string => CLOCK.format(at * 1_000);

// "ann", "ann and bob", "ann, bob, cy and 4 others"
export function names(of: readonly string[], most = 4): string {
  const shown = of.length > most ? [...of.slice(0, most - 1), plural(of.length - most + 1, "other")] : of;
  return shown.length < 2 ? (shown[0] ?? "") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}
