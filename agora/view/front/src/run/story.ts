// A run as it is told, put together: its debates, their turns and rounds, who speaks now, what it took.

import type {
  AnyRecord, CallRecord, EventRecord, LayoutRecord, RunRecord, SeatRecord, SpokeData, VerdictData,
} from "../records";

export interface Turn {
  key: string; // see keyOf
  n: number; // the how manieth turn of its debate, from 0
  agent: string;
  round: number;
  phase: string;
  answer: string | null; // null: no vote; `why` says why
  why: "abstained" | "unparsed" | null;
  answers: boolean; // its phase asks for an answer
  confidence: number | null;
  reads: string[]; // keys of the turns it was shown, in that order
  text: string | null; // null: absent, or not kept; may be clipped to its beginning
  chars: number; // of the whole text
  error: string | null; // why the voice is absent
  kept: boolean; // it was not asked: a gate let it keep what it had said, or follow the majority
  began: number | null; // when its model was asked, seconds since 1970
  at: number; // when it was over
  call: CallRecord | null; // null where it was not asked, or is a group: then its members' calls are below its path
}

export interface Speaking { agent: string; round: number; phase: string; since: number; wrote: string; waits: string | null }

export interface Debate {
  path: string; // "" for the run's own
  question: string;
  agents: string[];
  edges: [read: number, reader: number][]; // indices of agents
  layout: LayoutRecord | null;
  turns: Turn[];
  byKey: Map<string, Turn>;
  speaking: Map<string, Speaking>;
  rounds: { index: number; stop: string | null }[]; // those that are over
  verdict: VerdictData | null;
  began: number;
  ended: number | null;
}

export const keyOf = (agent: string, round: number, phase: string): string => JSON.stringify([agent, round, phase]);
export const placeOf = (path: string, agent: string, round: number, phase: string): string =>
  `${path === "" ? "" : `${path}/`}${agent}/${round}/${phase}`;

const STEP = 256; // events from one place that `until` keeps to the next
const fresh = (debate: Debate): Debate => ({
  ...debate, turns: [...debate.turns], byKey: new Map(debate.byKey), rounds: [...debate.rounds],
  speaking: new Map([...debate.speaking].map(([key, speaking]) => [key, { ...speaking }])),
});

// What was decided; null also where a run does not keep its content, and only its figures are told.
export const verdictOf = ({ verdict }: Debate): VerdictData | null =>
  (verdict as Partial<VerdictData> | null)?.support === undefined ? null : verdict;

// All that has been told of a run. `add` takes more of it; `snapshot` is for who shows it; `until` tells the story up to
// one of its events again.
export class Story {
  run: RunRecord | null = null;
  debates = new Map<string, Debate>();
  calls: CallRecord[] = [];
  seats = new Map<string, SeatRecord>();
  events: EventRecord[] = [];
  private byPath = new Map<string, CallRecord>(); // these three are shared with what `until` tells
  private layouts = new Map<string, LayoutRecord>();
  private edges = new Map<EventRecord, [number, number][]>();
  private readonly known = new Set<number>();
  private readonly counted = new Set<number>(); // ids of calls
  private readonly kept = new Map<number, Story>(); // how it stood after so many events
  private readonly touched = new Set<string>(); // paths of debates that are not as they were last shown
  private shown: Story | null = null;

  add(records: readonly AnyRecord[]): this {
    for (const record of records) {
      switch (record.type) {
        case "run":
          if (this.run?.status !== record.status) for (const path of this.debates.keys()) this.touched.add(path);
          this.run = record;
          break;
        case "call": this.addCall(record); break;
        case "layout": this.addLayout(record); break;
        case "seat":
          if (record.open) this.seats.set(record.id, record);
          else this.seats.delete(record.id);
          break;
        case "wrote": {
          const speaking = this.debates.get(record.path)?.speaking.get(keyOf(record.agent, record.round, record.phase));
          if (speaking !== undefined) {
            this.touched.add(record.path);
            speaking.wrote = record.first ? record.text : (speaking.wrote + record.text).slice(-20_000);
            speaking.waits = null;
          }
          break;
        }
        case "event":
          if (this.known.has(record.id)) break; // told twice, as a connection was lost
          this.known.add(record.id);
          this.events.push(record);
          this.apply(record);
      }
    }
    return this;
  }

  // How it stands now. What is shown never changes in place: a debate is the same object only while it stays as it was.
  snapshot(): Story {
    const before = this.shown, now = this.beside();
    const still = this.run !== null && this.run.status !== "running"; // who was speaking then no longer is
    for (const [path, debate] of this.debates) {
      const same = this.touched.has(path) ? undefined : before?.debates.get(path);
      now.debates.set(path, same ?? (still ? { ...fresh(debate), speaking: new Map() } : fresh(debate)));
    }
    this.touched.clear();
    now.calls = before?.calls.length === this.calls.length ? before.calls : [...this.calls];
    now.seats = new Map(this.seats);
    now.events = before?.events.length === this.events.length ? before.events : [...this.events];
    return (this.shown = now);
  }

  // How it stood after so many events. It is told on from the nearest place that is kept, so that back is as cheap as on.
  until(count: number): Story {
    const end = Math.max(0, Math.min(count, this.events.length));
    let from = end - (end % STEP);
    while (from > 0 && !this.kept.has(from)) from -= STEP;
    let told = this.twin(this.kept.get(from));
    for (let k = from; k < end; k++) {
      if (k > from && k % STEP === 0) {
        this.kept.set(k, told);
        told = this.twin(told);
      }
      told.apply(this.events[k]!);
    }
    told.events = this.events.slice(0, end);
    const at = end === this.events.length ? Infinity : (this.events[end - 1]?.at ?? -Infinity);
    // a call ends just before its turn is told, by another clock
    told.calls = this.calls.filter((call) => call.begun + call.seconds <= at + 0.05);
    if (at === Infinity && this.run?.status !== "running") for (const debate of told.debates.values()) debate.speaking.clear();
    return told;
  }

  private beside(): Story {
    const made = new Story();
    [made.run, made.byPath, made.layouts, made.edges] = [this.run, this.byPath, this.layouts, this.edges];
    return made;
  }

  private twin(of: Story | undefined): Story {
    const made = this.beside();
    for (const [path, debate] of of?.debates ?? []) made.debates.set(path, fresh(debate));
    return made;
  }

  get main(): Debate | null {
    return this.debates.get("") ?? null;
  }

  private addCall(call: CallRecord): void {
    if (this.counted.has(call.id)) return;
    this.counted.add(call.id);
    this.calls.push(call);
    const before = this.byPath.get(call.path);
    if (before === undefined || before.text === null || call.text !== null) this.byPath.set(call.path, call);
  }

  private addLayout(layout: LayoutRecord): void {
    this.layouts.set(layout.path, layout);
    const debate = this.debates.get(layout.path);
    if (debate === undefined) return;
    debate.layout = layout;
    this.touched.add(layout.path);
  }

  private apply(event: EventRecord): void {
    this.touched.add(event.path);
    if (event.kind === "started") {
      let edges = this.edges.get(event);
      if (edges === undefined) {
        const order = new Map(event.data.agents.map((name, i) => [name, i]));
        edges = (event.data.edges ?? []).flatMap(([u, v]): [number, number][] => {
          const read = order.get(u), reader = order.get(v);
          return read === undefined || reader === undefined ? [] : [[read, reader]];
        });
        this.edges.set(event, edges);
      }
      const before = this.debates.get(event.path); // a resumed run begins again
      this.debates.set(event.path, {
        path: event.path, question: event.data.question ?? "", agents: event.data.agents, edges,
        layout: this.layouts.get(event.path) ?? null, turns: before?.turns ?? [], byKey: before?.byKey ?? new Map(),
        speaking: new Map(), rounds: before?.rounds ?? [], verdict: null, began: before?.began ?? event.at, ended: null,
      });
      return;
    }
    const debate = this.debates.get(event.path);
    if (debate === undefined) return;
    switch (event.kind) {
      case "speaking": {
        const { agent, round, phase } = event.data;
        debate.speaking.set(keyOf(agent, round, phase), { agent, round, phase, since: event.at, wrote: "", waits: null });
        break;
      }
      case "retrying":
        for (const speaking of debate.speaking.values())
          if (speaking.agent === event.data.agent) speaking.waits = `waits ${event.data.wait.toFixed(1)} s: ${event.data.error ?? "why is not kept"}`;
        break;
      case "spoke": this.spoke(debate, event.at, event.data); break;
      case "round":
        if (!debate.rounds.some((round) => round.index === event.data.round))
          debate.rounds.push({ index: event.data.round, stop: event.data.stop ?? null });
        break;
      case "decided":
        debate.verdict = event.data;
        debate.ended = event.at;
        debate.speaking.clear();
    }
  }

  private spoke(debate: Debate, at: number, said: SpokeData): void {
    const key = keyOf(said.agent, said.round, said.phase);
    const began = debate.speaking.get(key)?.since ?? null;
    debate.speaking.delete(key);
    const call = this.byPath.get(placeOf(debate.path, said.agent, said.round, said.phase)) ?? null;
    const told = said.text !== undefined, failed = call?.error; // all there is of it where content is not kept
    const before = debate.byKey.get(key);
    let reads: string[] | undefined; // a thousand agents that read each other: only of turns that are looked at
    const turn: Turn = {
      key, n: before?.n ?? debate.turns.length, agent: said.agent, round: said.round, phase: said.phase,
      answer: said.answer ?? null, why: said.why_none ?? null, answers: said.answer !== undefined,
      confidence: said.confidence ?? null, get reads() { return (reads ??= said.reads.map((k) => keyOf(...k))); },
      text: said.text ?? call?.text ?? null, chars: said.chars ?? call?.chars ?? 0, error: said.error ?? (failed ? failed.message || failed.kind : null),
      kept: told && call === null && began === null, began, at, call,
    };
    debate.byKey.set(key, turn);
    if (before === undefined) debate.turns.push(turn);
    else debate.turns[before.n] = turn;
  }
}

export interface Spent { calls: number; tokensIn: number; tokensOut: number; usd: number | null; seconds: number }

const NOTHING: Spent = { calls: 0, tokensIn: 0, tokensOut: 0, usd: 0, seconds: 0 };

// What the calls of a debate took, by agent and round; a moderator's are under "(moderator)".
export function spending(story: Story, debate: Debate): { agent: string; round: number; spent: Spent }[] {
  const prefix = debate.path === "" ? "" : `${debate.path}/`;
  const sums = new Map<string, { agent: string; round: number; spent: Spent }>();
  for (const call of story.calls) {
    if (!call.path.startsWith(prefix)) continue;
    const found = /^(.*?)\/(\d+)\/[^/]+/.exec(call.path.slice(prefix.length));
    const agent = found?.[1] ?? "", round = Number(found?.[2] ?? 0);
    const key = keyOf(agent, round, "");
    const { spent } = sums.get(key) ?? { spent: NOTHING };
    sums.set(key, {
      agent, round,
      spent: {
        calls: spent.calls + call.calls,
        tokensIn: spent.tokensIn + call.input_tokens,
        tokensOut: spent.tokensOut + call.output_tokens,
        usd: spent.usd === null || call.usd === null ? null : spent.usd + call.usd,
        seconds: spent.seconds + (call.calls > 0 || call.error !== null ? call.seconds : 0),
      },
    });
  }
  return [...sums.values()];
}
