// Ages and moments; all are seconds since 1970.

import { useEffect, useState } from "preact/hooks";

export const now = (): number => Date.now() / 1000;

const two = (n: number): string => String(n).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// How long ago, in the fewest words; beyond a week the day, beyond a year with its year.
export function ago(then: number, today: number): string {
  const age = today - then;
  if (age < -60) return day(then, today); // its clock is not ours
  if (age < 5) return "just now";
  if (age < 60) return `${Math.floor(age)} s ago`;
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 24 * 3600) return `${Math.floor(age / 3600)} h ago`;
  if (age < 7 * 24 * 3600) return `${Math.floor(age / 24 / 3600)} d ago`;
  return day(then, today);
}

function day(then: number, today: number): string {
  const date = new Date(then * 1000);
  const year = date.getFullYear() === new Date(today * 1000).getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${MONTHS[date.getMonth()]}${year}`;
}

// To the second, as the reader's clock has it.
export function exact(then: number): string {
  const d = new Date(then * 1000);
  return `${d.getDate()} ${MONTHS[d.getMonth()]} ${d.getFullYear()}, ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const iso = (then: number): string => new Date(then * 1000).toISOString();

// A time that is left: 1:05:00, 4:07, 0:09; never less than nothing.
export function left(until: number, today: number): string {
  const s = Math.max(0, Math.ceil(until - today));
  const hours = Math.floor(s / 3600), minutes = Math.floor((s % 3600) / 60);
  return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(s % 60)}`;
}

// The present, anew every so many seconds while the page is seen.
export function useNow(every: number): number {
  const [at, setAt] = useState(now);
  useEffect(() => {
    const tick = () => {
      if (!document.hidden) setAt(now());
    };
    const timer = setInterval(tick, every * 1000);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, [every]);
  return at;
}
