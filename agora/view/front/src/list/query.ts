// What the list of runs is asked for: as filters, in the page's address, and as the server is asked.

import type { RunRecord } from "../records";

export const SORTS = ["created", "cost", "calls", "tokens", "seconds"] as const;
export type Sort = (typeof SORTS)[number];
export const STATUSES = ["running", "done", "failed", "interrupted", "budget", "killed"] as const;

// Everything as it stands in the address; "" is no filter.
export interface Filters {
  text: string;
  status: string;
  name: string;
  answer: string;
  since: string; // "24h", "7d": how far back; or a day
  until: string; // a day, which it includes
  min_usd: string;
  max_usd: string;
  items: string; // "1": with the items of evaluations
  sort: Sort;
}
const NAMES = ["text", "status", "name", "answer", "since", "until", "min_usd", "max_usd", "items"] as const;

export function filtersOf(query: URLSearchParams): Filters {
  const sort = SORTS.find((one) => one === query.get("sort")) ?? "created";
  const given = Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""])) as Omit<Filters, "sort">;
  return { ...given, sort };
}

export function addressOf(filters: Filters): string {
  const query = new URLSearchParams();
  for (const name of NAMES) if (filters[name] !== "") query.set(name, filters[name]);
  if (filters.sort !== "created") query.set("sort", filters.sort);
  const text = query.toString();
  return text === "" ? "/" : `/?${text}`;
}

export const filtered = (filters: Filters): boolean => NAMES.some((name) => name !== "items" && filters[name] !== "");

const UNITS: Record<string, number> = { h: 3600, d: 24 * 3600 };

// A moment in seconds since 1970; null where it is none.
export function moment(text: string, now: number, end = false): number | null {
  const back = /^(\d{1,5})([hd])$/.exec(text);
  if (back !== null) return Math.floor(now - Number(back[1]) * UNITS[back[2]!]!);
  const day = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (day === null) return null;
  // by the reader's clock; a day may have 23 hours
  const at = new Date(Number(day[1]), Number(day[2]) - 1, Number(day[3]) + (end ? 1 : 0)).getTime() / 1000;
  return Number.isFinite(at) ? at : null;
}

const usd = (text: string): string | null => (text.trim() !== "" && Number(text) >= 0 && Number.isFinite(Number(text)) ? String(Number(text)) : null);

export function requestOf(filters: Filters, now: number, limit: number, offset = 0): string {
  const query = new URLSearchParams();
  for (const name of ["text", "status", "name", "answer"] as const) if (filters[name].trim() !== "") query.set(name, filters[name].trim());
  const since = moment(filters.since, now), until = moment(filters.until, now, true);
  if (since !== null) query.set("since", String(since));
  if (until !== null) query.set("until", String(until));
  for (const name of ["min_usd", "max_usd"] as const) {
    const given = usd(filters[name]);
    if (given !== null) query.set(name, given);
  }
  query.set("sort", filters.sort);
  query.set("items", filters.items === "1" ? "1" : "0");
  query.set("limit", String(limit));
  if (offset > 0) query.set("offset", String(offset));
  return `/api/runs?${query.toString()}`;
}

// The list with its beginning told anew. What is missing there is gone, or no longer what is asked for; what came after
// its end stays, where there is more.
export function merged(before: readonly RunRecord[], fresh: readonly RunRecord[], more: boolean): readonly RunRecord[] {
  if (!more) return fresh;
  const told = new Set(fresh.map((run) => run.id));
  const last = before.findLastIndex((run) => told.has(run.id));
  return [...fresh, ...before.slice(last + 1)];
}

// The list with more of it behind; where runs were added meanwhile, its end comes twice.
export function extended(before: readonly RunRecord[], more: readonly RunRecord[]): readonly RunRecord[] {
  const there = new Set(before.map((run) => run.id));
  return [...before, ...more.filter((run) => !there.has(run.id))];
}

// Those that run now first, where nothing else was asked for.
export function inOrder(runs: readonly RunRecord[], sort: Sort): readonly RunRecord[] {
  if (sort !== "created" || !runs.some(goesOn)) return runs;
  return [...runs.filter(goesOn), ...runs.filter((run) => !goesOn(run))];
}
export const goesOn = (run: RunRecord): boolean => run.status === "running";
