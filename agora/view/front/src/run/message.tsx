// One turn in the list of messages, and who speaks now.

import { useEffect, useMemo, useState } from "preact/hooks";
import { cutAt, plainly } from "../odd";
import { Hidden, Plain, Short } from "../text";
import { Chip } from "./chip";
import type { Marks } from "./marks";
import { count, names, percent, plural, seconds } from "./say";
import type { Debate, Speaking, Turn } from "./story";
import { type Changed, errorOf, type Retry } from "./turns";

const SHOWN = 700, LINES = 7; // characters and lines of a message in the list

function beginning(text: string): string {
  let end = cutAt(text, SHOWN);
  for (let at = -1, n = 0; (at = text.indexOf("\n", at + 1)) >= 0 && at < end; ) if (++n === LINES) end = at;
  return text.slice(0, end);
}

export interface Context {
  debate: Debate;
  marks: Marks;
  changed: Map<string, Changed>;
  retries: Map<string, Retry[]>;
  reads: boolean; // there are few enough to say whom each read
  onOpen: (key: string) => void;
}

// Agents that a turn was shown, each once, by name.
const readBy = (debate: Debate, turn: Turn): string[] =>
  [...new Set(turn.reads.map((key) => debate.byKey.get(key)?.agent ?? (JSON.parse(key) as [string])[0]))];

export function Message({ turn, selected, context }: { turn: Turn; selected: boolean; context: Context }) {
  const { debate, marks, onOpen } = context;
  const changed = context.changed.get(turn.key), retries = context.retries.get(turn.key);
  const error = errorOf(turn), text = turn.text, shown = text === null ? "" : beginning(text);
  const read = context.reads ? readBy(debate, turn) : null;
  const open = () => onOpen(turn.key);
  return (
    <article class={`message${selected ? " selected" : ""}${error === null ? "" : " absent"}`} aria-current={selected ? "true" : undefined}>
      <header>
        <button type="button" class="who" onClick={open}><Short text={turn.agent} most={40} /><Hidden>: read round {turn.round}, {plainly(turn.phase)}</Hidden></button>
        {error !== null ? <span class="none">absent</span> : turn.answers ? <Chip answer={turn.answer} why={turn.why} marks={marks} most={48} /> : null}
        {turn.confidence !== null && turn.answers ? <span class="soft" title="how sure it is">{percent(turn.confidence)} sure</span> : null}
        {changed !== undefined ? (
          <span class="was"><span aria-hidden="true">↻ </span>was <Chip answer={changed.before} why={changed.why} marks={marks} most={24} /></span>
        ) : null}
        <span class="rest">
          {read === null ? null : read.length === 0 ? <span>read nobody</span> : <span>read <Short text={names(read)} most={90} /></span>}
          {turn.kept ? <span>kept, not asked</span> : turn.call !== null ? <span>{seconds(turn.call.seconds)}</span> : turn.began !== null ? <span>{seconds(turn.at - turn.began)}</span> : null}
        </span>
      </header>
      {retries?.map((retry) => (
        <p key={retry.at} class="retry">Attempt {retry.attempt} failed, waited {seconds(retry.wait)}: <Short text={retry.error} most={200} /></p>
      ))}
      {error !== null ? <p class="retry">No answer: <Short text={error} most={400} /></p> : null}
      {text !== null ? <div class="words" dir="auto"><Plain text={shown} />{shown.length < turn.chars ? "…" : ""}</div> : null}
      {text === null && error === null ? <p class="soft">Its text is not kept.</p> : null}
      {turn.chars > shown.length ? (
        <button type="button" class="plain" onClick={open}>{count(turn.chars - shown.length)} more characters<Hidden> of {plainly(turn.agent)}</Hidden></button>
      ) : null}
    </article>
  );
}

const TAIL = 600; // characters of what is being written

// Who speaks now, with the end of what each has written so far.
export function Now({ debate }: { debate: Debate }) {
  const [, tick] = useState(0);
  const busy = debate.speaking.size > 0;
  useEffect(() => {
    if (!busy) return;
    const timer = setInterval(() => tick((n) => n + 1), 1_000);
    return () => clearInterval(timer);
  }, [busy]);
  if (!busy) return null;
  const all = [...debate.speaking.values()], shown = all.slice(0, 24);
  return (
    <section class="now" aria-label="Who speaks now">
      <h3>Now <span class="soft">{plural(all.length, "agent")} {all.length === 1 ? "speaks" : "speak"}</span></h3>
      {shown.map((one) => <NowOne key={`${one.agent}/${one.round}/${one.phase}`} one={one} />)}
      {all.length > shown.length ? <p class="soft">and {plural(all.length - shown.length, "other")}</p> : null}
    </section>
  );
}

function NowOne({ one }: { one: Speaking }) {
  const long = one.wrote.length > TAIL;
  const tail = useMemo(() => (long ? one.wrote.slice(cutAt(one.wrote, one.wrote.length - TAIL)) : one.wrote), [one.wrote]);
  return (
    <article class="message speaking">
      <header>
        <span class="who"><Short text={one.agent} most={40} /></span>
        <span class="soft">round {one.round}, <Short text={one.phase} most={40} /></span>
        <span class="rest">{seconds(Math.max(1, Math.round(Date.now() / 1_000 - one.since)))}</span>
      </header>
      {one.waits !== null ? <p class="retry"><Short text={one.waits} most={300} /></p> : null}
      {tail !== "" ? <div class="words" dir="auto">{long ? "…" : ""}<Plain text={tail} /><span class="caret" aria-hidden="true" /></div>
        : one.waits === null ? <p class="soft">nothing written yet</p> : null}
    </article>
  );
}
