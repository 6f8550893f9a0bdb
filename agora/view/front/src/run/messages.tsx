// All that was said in a debate, in order of time, by round and phase: to be looked through, and opened.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { plainly } from "../odd";
import type { Source } from "../source";
import { Short } from "../text";
import { AsideEntry } from "./aside";
import { type Context, Message, Now } from "./message";
import { count, plural } from "./say";
import type { Debate, Story, Turn } from "./story";
import { type Aside, asides, changesIn, groupsOf, marksIn, retriesOf } from "./turns";
import "./messages.css";

const CHUNK = 40; // entries that are put on the page at once
const IDLE = 3_000; // turns up to which the rest is put there while nothing else is to do

export function Messages(props: {
  story: Story; debate: Debate; selected: string | null; onOpen: (key: string) => void; source?: Source;
}) {
  const { story, debate, selected, onOpen, source } = props;
  const [agent, setAgent] = useState("");
  const [find, setFind] = useState("");
  const [changedOnly, setChangedOnly] = useState(false);
  const said = useMemo(() => asides(story, debate), [story.calls, story.calls.length, debate.path]);
  const opener = useRef(onOpen);
  opener.current = onOpen;
  const context = useMemo((): Context => ({
    debate, marks: marksIn(debate), changed: changesIn(debate), retries: retriesOf(story, debate),
    reads: debate.edges.length <= 40 * debate.agents.length, onOpen: (key) => opener.current(key),
  }), [debate, debate.turns.length, story.events.length]);
  const wanted = find.trim().toLowerCase();
  const filtered = agent !== "" || wanted !== "" || changedOnly;
  const groups = useMemo(() => {
    const has = (...texts: (string | null)[]) => wanted === "" || texts.some((text) => text?.toLowerCase().includes(wanted));
    const turns = debate.turns.filter((turn) =>
      (agent === "" || turn.agent === agent) && (!changedOnly || context.changed.has(turn.key)) &&
      has(turn.agent, turn.answer, turn.text, turn.error));
    const beside = changedOnly || agent !== "" ? [] : said.filter(({ call, role }) => has(role, call.text));
    return groupsOf(turns, beside);
  }, [debate, debate.turns.length, said, agent, wanted, changedOnly, context]);
  const found = groups.reduce((sum, group) => sum + group.turns.length + group.asides.length, 0);
  const all = debate.turns.length + said.length;
  const cut = wanted !== "" && debate.turns.some((turn) => turn.text !== null && turn.chars > turn.text.length);
  return (
    <section class="messages" aria-label="What was said">
      <h2>What was said</h2>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>Find <input type="search" value={find} onInput={(event) => setFind(event.currentTarget.value)} /></label>
        <label>Agent{" "}
          <select value={agent} onChange={(event) => setAgent(event.currentTarget.value)}>
            <option value="">all</option>
            {debate.agents.map((name) => <option key={name} value={name}>{plainly(name.slice(0, 60))}</option>)}
          </select>
        </label>
        <label class="tick">
          <input type="checkbox" checked={changedOnly} onChange={(event) => setChangedOnly(event.currentTarget.checked)} /> changed only
        </label>
        <output>{filtered ? `${count(found)} of ${plural(all, "message")}` : plural(all, "message")}{cut ? "; long ones are searched in their beginning" : ""}</output>
      </form>
      {groups.map((group) => (
        <section key={group.key} class="group" aria-label={`Round ${group.round}, ${group.phase ?? "moderator"}`}>
          <h3>Round {group.round} <span class="soft"><Short text={group.phase ?? "moderator"} most={60} /></span>
            <span class="many">{count(group.turns.length + group.asides.length)}</span></h3>
          {chunks(group.turns).map((turns, i) => (
            <Turns key={i} turns={turns} selected={selected} context={context} eager={all <= CHUNK * 3} idle={all <= IDLE} />
          ))}
          {chunks(group.asides).map((some, i) => <Asides key={i} some={some} source={source} context={context} />)}
        </section>
      ))}
      {found === 0 ? <p class="empty">{filtered ? "No message is like that." : debate.speaking.size > 0 ? "" : "Nothing has been said."}</p> : null}
      <Now debate={debate} />
    </section>
  );
}

function chunks<T>(all: readonly T[]): T[][] {
  const made: T[][] = [];
  for (let i = 0; i < all.length; i += CHUNK) made.push(all.slice(i, i + CHUNK));
  return made;
}

// The same array as before where its elements are the same, so that nothing below it is looked at again.
function useSame<T>(some: T[]): T[] {
  const last = useRef(some);
  if (last.current.length !== some.length || some.some((one, i) => one !== last.current[i])) last.current = some;
  return last.current;
}

// Runs of turns are put on the page when they come near the window, or when there is time.
function Turns(props: { turns: Turn[]; selected: string | null; context: Context; eager: boolean; idle: boolean }) {
  const turns = useSame(props.turns);
  const chosen = props.selected !== null && turns.some((turn) => turn.key === props.selected) ? props.selected : null;
  const [near, setNear] = useState(props.eager);
  const place = useRef<HTMLDivElement>(null);
  const here = near || chosen !== null;
  useEffect(() => {
    const element = place.current;
    if (here || element === null) return;
    const watch = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) setNear(true); }, { rootMargin: "1200px" });
    watch.observe(element);
    const forget = props.idle ? whenIdle(() => setNear(true)) : null;
    return () => {
      watch.disconnect();
      forget?.();
    };
  }, [here, props.idle]);
  const told = turns.map((turn) => props.context.changed.has(turn.key)).join();
  return useMemo(() => here
    ? <div ref={place}>{turns.map((turn) => <Message key={turn.key} turn={turn} selected={turn.key === chosen} context={props.context} />)}</div>
    : <div ref={place} style={{ minHeight: `${turns.length * 96}px` }} />, [turns, chosen, here, told, props.context.marks.size, props.context.retries.size]);
}

function Asides({ some, source, context }: { some: Aside[]; source?: Source | undefined; context: Context }) {
  const kept = useSame(some);
  return useMemo(() => <div>{kept.map((aside) => <AsideEntry key={aside.call.id} aside={aside} source={source} context={context} />)}</div>, [kept, source, context.debate.path]);
}

// One thing after another, each when nothing else is to do.
const waiting = new Set<() => void>();
let running = false;
const idle = (work: () => void) =>
  typeof requestIdleCallback === "function" ? void requestIdleCallback(work, { timeout: 2_000 }) : void setTimeout(work, 60);

function next(): void {
  const work = waiting.values().next().value;
  running = work !== undefined;
  if (work === undefined) return;
  waiting.delete(work);
  work();
  idle(next);
}

function whenIdle(work: () => void): () => void {
  waiting.add(work);
  if (!running) {
    running = true;
    idle(next);
  }
  return () => waiting.delete(work);
}
