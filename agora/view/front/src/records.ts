// What the page is told of a run: the records that `agora export` writes, calls without their requests and whole replies.

export interface Usage {
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  cache_write_tokens: number;
  usd: number | null; // null: not known, which is never zero
  seconds: number;
}

export type Status = "running" | "killed" | "done" | "failed" | "interrupted" | "budget";

export interface RunRecord {
  type: "run";
  id: string;
  status: Status; // "killed": it says that it runs, but nothing does
  question: string | null; // null: its content is not kept
  name: string;
  created: number; // seconds since 1970
  updated: number;
  answer: string | null;
  reason: string | null;
  rounds: number | null;
  attempts: number;
  failed: number;
  seed: number;
  content: boolean;
  alive: boolean; // something runs it, here or in another process
  here: boolean; // this server runs it: it can be stopped
  resumable: boolean; // it can go on from what the journal has
  usage: Usage;
  versions: Record<string, string>;
}

export type Key = [agent: string, round: number, phase: string];

export interface StartedData { question?: string; agents: string[]; edges: [string, string][] }
export interface SpeakingData { agent: string; round: number; phase: string }
export interface SpokeData {
  agent: string;
  round: number;
  phase: string;
  reads: Key[];
  answer?: string | null;
  why_none?: "abstained" | "unparsed" | null;
  confidence?: number | null;
  error?: string;
  text?: string; // of who is a group, or was spared by a gate: it is in no call; clipped
  chars?: number;
}
export interface RoundData { round: number; stop: string | null; answers: Record<string, string | null> }
export interface Change { agent: string; round: number; before: string | null; after: string | null; read: string[] }
export interface VerdictData {
  answer: string | null;
  text: string;
  reason: string;
  confidence: number | null;
  rounds: number;
  support: Record<string, number>;
  initial: string | null;
  dissent: { agent: string; answer: string | null; text: string }[];
  changes: Change[];
  absent: string[];
  warnings: string[];
  usage: Usage;
  question: string;
  run: string;
}
export interface RetryingData { agent: string | null; model: string; error: string; wait: number; attempt: number }

// `path` is "" for the run's own debate; of a debate that is a member of it, the place of the call that asked it
interface EventOf<K extends string, D> { type: "event"; id: number; at: number; kind: K; path: string; data: D }
export type EventRecord =
  | EventOf<"started", StartedData>
  | EventOf<"speaking", SpeakingData>
  | EventOf<"spoke", SpokeData>
  | EventOf<"round", RoundData>
  | EventOf<"decided", VerdictData>
  | EventOf<"retrying", RetryingData>
  | EventOf<"choice", unknown>;

export interface CallRecord {
  type: "call";
  id: number;
  path: string; // [place of the debate/]agent/round/phase; (moderator)/round/role; below a turn: a member's calls
  occurrence: number;
  model: string;
  begun: number;
  seconds: number;
  attempts: number;
  error: { kind: string; message: string; hint?: string | null } | null;
  calls: number; // 0: it took nothing, as its reply was there before, or it failed
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  usd: number | null;
  text: string | null; // clipped; null: it failed, or content is not kept
  chars: number; // of the whole text
  confidence: number | null;
  logprob: number | null; // mean of its tokens
  finish: string | null;
  route: [string, string] | null; // of a router: which member, and why
  warnings: string[];
  heat: boolean; // its tokens have log-probabilities: the whole call has them
}

// where the agents of a debate stand, in its order; pixels of a plane of any size
export interface LayoutRecord { type: "layout"; path: string; at: [number, number][]; names: "out" | "beside" | "free" }

// only while a run goes on in this server: text as it is written, and a person who is waited for
export interface WroteRecord { type: "wrote"; path: string; agent: string; round: number; phase: string; text: string; first: boolean }
export interface SeatRecord {
  type: "seat";
  id: string;
  name: string; // of the person's model
  path: string; // of the call
  prompt: [role: string, content: string][];
  since: number;
  until: number | null; // when it counts as an abstention, seconds since 1970
  open: boolean; // false: it has been answered, or was not in time
}

export type AnyRecord = RunRecord | EventRecord | CallRecord | LayoutRecord | WroteRecord | SeatRecord;

// the whole of one call
export interface FullCall {
  id: number;
  path: string;
  model: string;
  request: { messages: [role: string, content: string][]; settings: Record<string, unknown> } | null;
  reply: FullReply | null;
  error: CallRecord["error"];
}
export type TokenRow = [text: string, logprob: number, top: [string, number][], by?: [string, number][], disagreement?: number | null];
export interface FullReply {
  text: string;
  model: string;
  usage: Usage;
  logprob?: number;
  confidence?: number;
  reasoning?: string;
  finish?: string;
  route?: [string, string];
  warnings?: string[];
  tokens?: TokenRow[];
  parts?: FullReply[];
}
