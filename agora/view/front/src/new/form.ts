// What the form for a new debate holds, and what it sends.

import type { LayoutRecord } from "../records";

export interface Offers {
  files: { id: string; question: string | null; agents: string[]; people: string[] }[];
  presets: { name: string; title: string; paper: string; tags: string[]; roles: string[] }[];
  models: Found[];
  answers: string[];
}
export interface Found { model: string; ready: boolean; needs: string }

export interface Checked {
  agents: { name: string; model: string }[];
  edges: [read: number, reader: number][];
  layout: LayoutRecord;
  calls: [number | null, number | null];
  tokens: [number | null, number | null];
  usd: [number | null, number | null];
  unknown: string[];
}

// All as it was typed.
export interface Fields {
  source: string; // "file:ID", "preset:NAME", or "" for a debate in which everybody reads everybody
  question: string;
  models: string[]; // may repeat
  answer: string;
  rounds: string;
  topology: string;
  sits: boolean; // a person takes part
  person: string;
  usd: string;
}
export const BLANK: Fields = { source: "", question: "", models: [], answer: "", rounds: "", topology: "", sits: false, person: "you", usd: "" };

export const fileOf = (fields: Fields): string | null => (fields.source.startsWith("file:") ? fields.source.slice(5) : null);
export const presetOf = (fields: Fields): string | null => (fields.source.startsWith("preset:") ? fields.source.slice(7) : null);

// What an address asks for: /new?preset=NAME&question=...&model=...
export function fieldsOf(query: URLSearchParams, before: Fields): Fields {
  const file = query.get("file"), preset = query.get("preset"), models = query.getAll("model");
  return {
    ...before,
    ...(file !== null ? { source: `file:${file}` } : preset !== null ? { source: `preset:${preset}` } : {}),
    ...(query.has("question") ? { question: query.get("question")! } : {}),
    ...(models.length > 0 ? { models } : {}),
  };
}

// What is sent; or what is missing or wrong before anybody needs to be asked.
export function bodyOf(fields: Fields): { body: Record<string, unknown> } | { lacks: string } | { wrong: string } {
  const question = fields.question.trim();
  const file = fileOf(fields);
  const usd = fields.usd.trim() === "" ? null : Number(fields.usd);
  if (usd !== null && !(Number.isFinite(usd) && usd > 0)) return { wrong: "The most to spend is an amount in US dollars above zero, such as 0.50." };
  const common = { question, usd };
  if (file !== null) return question === "" ? { lacks: "a question" } : { body: { file, ...common } };
  const rounds = fields.rounds.trim() === "" ? null : Number(fields.rounds);
  if (rounds !== null && !(Number.isInteger(rounds) && rounds >= 0 && rounds <= 1000)) return { wrong: "Rounds are a whole number from 0 to 1000." };
  const person = fields.sits ? fields.person.trim() : null;
  if (person === "") return { wrong: "Say by which name you take part." };
  if (fields.models.length === 0) return { lacks: "a model" };
  if (question === "") return { lacks: "a question" };
  return {
    body: {
      preset: presetOf(fields), models: fields.models, answer: fields.answer === "" ? null : fields.answer, rounds,
      topology: fields.topology === "" ? null : fields.topology, person, ...common,
    },
  };
}

// Whether the name stands for others: "openai:NAME", "hf:FOLDER". What comes before them.
export const openEnd = (model: string): string | null => /^(.*[:/])[A-Z]{3,}$/.exec(model)?.[1] ?? null;

// Those that can be asked now first, and among them in the order in which they were found.
export const readyFirst = (models: readonly Found[]): Found[] => [...models.filter((one) => one.ready), ...models.filter((one) => !one.ready)];

const BOX = ["pocket:sum", "pocket:mul", "pocket:sort", "pocket:mod"];

// Who would take part if nobody says: what runs here or is paid for, else those in the box that know something; as in
// `agora ask` without models.
export function usual(models: readonly Found[]): string[] {
  const ready = models.filter((one) => one.ready && openEnd(one.model) === null).map((one) => one.model);
  const large = ready.filter((model) => !model.startsWith("pocket:")).slice(0, 3);
  if (large.length === 0) return BOX.filter((model) => ready.includes(model));
  return [0, 1, 2].map((i) => large[i % large.length]!);
}

// Those presets in whose words all the words occur.
export function matching<T extends { name: string; title: string; paper: string; tags: string[] }>(presets: readonly T[], words: string): T[] {
  const wanted = words.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return presets.filter((one) => {
    const all = `${one.name} ${one.title} ${one.paper} ${one.tags.join(" ")}`.toLowerCase();
    return wanted.every((word) => all.includes(word));
  });
}

export const TOPOLOGIES: [name: string, meaning: string][] = [
  ["complete", "everybody reads everybody"], ["isolated", "nobody reads anybody"], ["ring", "everybody reads both neighbours"],
  ["relay", "everybody reads the one before, around"], ["chain", "each reads the one before"],
  ["star", "the first reads all and is read by all"], ["double_star", "two hubs, the others at one of them"],
  ["tree", "parents and children read each other"], ["reporting_tree", "parents read their children"],
  ["layered", "each layer reads the one before"], ["groups", "groups, linked by their first"], ["grid", "rows and columns"],
  ["bipartite", "two sides read each other"], ["small_world", "a ring with some far links"],
  ["k_regular", "everybody has the same number of links"], ["barabasi_albert", "a few have many links"],
  ["random_graph", "links at random"], ["net", "each reads all before it"],
];
