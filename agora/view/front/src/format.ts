// Figures in words: what is not known says so, and is never zero.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (n: number): string => GROUPED.format(n);
export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

// US dollars as the terminal shows them, with less behind the point where that is noise.
export function money(usd: number | null): string {
  if (usd === null) return "unknown";
  if (usd === 0) return "$0";
  if (usd < 0.00005) return "<$0.0001";
  if (usd < 10) return `$${usd.toFixed(4)}`;
  return `$${usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

// Large counts, to three figures: 940, 12.3k, 4.56M.
export function compact(n: number): string {
  for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    // what would be rounded up to the next unit is written in it: 1M, not 1000k
    if (n < unit * 0.9995) continue;
    return `${Number((n / unit).toPrecision(3))}${sign}`;
  }
  return count(n);
}

// How long something took.
export function duration(seconds: number): string {
  if (seconds < 0.0095) return seconds <= 0 ? "0 s" : "<0.01 s";
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (n: number): string => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${count(Math.floor(minutes / 60))} h ${two(minutes % 60)} min`;
}

// From the least to the most; either may be unknown.
export function range(least: number | null, most: number | null, shown: (n: number) => string): string {
  if (least === null && most === null) return "unknown";
  if (least === null) return `at most ${shown(most!)}`;
  if (most === null) return `at least ${shown(least)}`;
  return shown(least) === shown(most) ? shown(most) : `${shown(least)} to ${shown(most)}`;
}

// What the second is of the first; null where that says nothing.
export function ratio(first: number | null, second: number | null): string | null {
  if (first === null || second === null || first <= 0 || second <= 0) return null;
  const of = second / first;
  if (of > 0.995 && of < 1.005) return "the same";
  return `× ${of >= 99.5 ? count(of) : of >= 9.95 ? of.toFixed(0) : of >= 0.1 ? of.toFixed(2) : of.toPrecision(2)}`;
}

export const percent = (share: number): string => `${Math.round(100 * share)} %`;
