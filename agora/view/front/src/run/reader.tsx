// One turn: what was said in full, and exactly what its agent was shown when it said it.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { CallRecord, FullCall } from "../records";
import type { Source } from "../source";
import { plainly } from "../odd";
import { Hidden, Said, Short } from "../text";
import { Chip } from "./chip";
import { Figures, Reply } from "./reply";
import { Prompt } from "./prompt";
import { type Candidate, quotesIn } from "./quotes";
import { clock, count, percent, plural, seconds } from "./say";
import type { Debate, Story, Turn } from "./story";
import { called, changesIn, errorOf, known, marksIn, MODERATOR, pathOf, prefixOf, readersOf, retriesOf } from "./turns";
import "./reader.css";

const FETCHED = 40; // turns read whose whole text is fetched to find it; others are found by their beginning

// A call in full, or why it cannot be had; null while it is on its way.
export function useCall(source: Source, call: CallRecord | null): FullCall | string | null {
  const [got, setGot] = useState<{ id: number; call: FullCall | string } | null>(null);
  useEffect(() => {
    if (call === null) return;
    let gone = false;
    source.call(call.id).then(
      (full) => gone || setGot({ id: call.id, call: full }),
      (error: Error) => gone || setGot({ id: call.id, call: error.message }),
    );
    return () => { gone = true; };
  }, [source, call?.id]);
  return call !== null && got?.id === call.id ? got.call : null;
}

export function Reader(props: {
  source: Source; story: Story; debate: Debate; turn: Turn; onOpen: (key: string) => void; onClose: () => void;
  onDebate?: (path: string) => void;
}) {
  const { source, story, debate, turn, onOpen, onClose } = props;
  const heading = useRef<HTMLHeadingElement>(null);
  // the heading has the focus when it opens; who goes on by the buttons stays on them, and hears the heading change
  useEffect(() => {
    if (document.activeElement?.closest(".reader nav") == null) heading.current?.focus();
  }, [turn.key]);
  const got = useCall(source, turn.call);
  const full = typeof got === "object" ? got : null;
  const near = useMemo(() => neighbours(debate, turn), [debate, turn.key, debate.turns.length]);
  const keys = (event: KeyboardEvent) => {
    const on = event.target as Element;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || on.closest("input, textarea, select") !== null) return;
    const to = { j: near.next, k: near.before, ArrowRight: near.ownNext, ArrowLeft: near.ownBefore }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to !== null) onOpen(to.key);
  };
  return (
    <div class="reader" onKeyDown={keys}>
      <header>
        <h2 ref={heading} tabIndex={-1} aria-live="polite"><Short text={turn.agent} most={60} /> <span class="soft">round {turn.round}, <Short text={turn.phase} most={40} /></span></h2>
        <button type="button" onClick={onClose} class="close">Close</button>
      </header>
      <nav aria-label="Other turns">
        <Step to={near.before} go={onOpen} sign="↑" name="Before" hint="k" />
        <Step to={near.next} go={onOpen} sign="↓" name="Next" hint="j" />
        <Step to={near.ownBefore} go={onOpen} sign="←" name="Its last" hint="←" />
        <Step to={near.ownNext} go={onOpen} sign="→" name="Its next" hint="→" />
        <span class="soft">{turn.n + 1} of {debate.turns.length}</span>
      </nav>
      <Standing debate={debate} turn={turn} story={story} />
      <h3>What it said</h3>
      {typeof got === "string" ? <p class="retry">{got}</p> : null}
      <SaidHere story={story} turn={turn} full={full} loading={turn.call !== null && got === null} />
      <Below {...props} />
      <h3>What it was shown</h3>
      <Shown {...props} full={full} got={got} />
      {turn.call !== null ? <><h3>The call</h3><Figures call={turn.call} full={full} /></> : null}
      <Others story={story} debate={debate} turn={turn} onOpen={onOpen} />
    </div>
  );
}

interface Near { before: Turn | null; next: Turn | null; ownBefore: Turn | null; ownNext: Turn | null }

function neighbours(debate: Debate, turn: Turn): Near {
  const { turns } = debate, n = turn.n;
  const own = (step: 1 | -1): Turn | null => {
    for (let i = n + step; i >= 0 && i < turns.length; i += step) if (turns[i]!.agent === turn.agent) return turns[i]!;
    return null;
  };
  return { before: turns[n - 1] ?? null, next: turns[n + 1] ?? null, ownBefore: own(-1), ownNext: own(1) };
}

function Step({ to, go, sign, name, hint }: { to: Turn | null; go: (key: string) => void; sign: string; name: string; hint: string }) {
  return (
    <button
      type="button" aria-disabled={to === null} onClick={() => to !== null && go(to.key)} aria-keyshortcuts={{ "←": "ArrowLeft", "→": "ArrowRight" }[hint] ?? hint}
    ><span aria-hidden="true">{sign} </span>{name}<Hidden>: {to === null ? "there is none" : plainly(called(to))}</Hidden>{hint === sign ? null : <kbd aria-hidden="true">{hint}</kbd>}</button>
  );
}

// What it answered, how sure it is, and what came of it, in a line.
function Standing({ debate, turn, story }: { debate: Debate; turn: Turn; story: Story }) {
  const marks = marksIn(debate), changed = changesIn(debate).get(turn.key);
  const retries = retriesOf(story, debate).get(turn.key) ?? [];
  return (
    <>
      <p class="standing">
        {errorOf(turn) !== null ? <b>Absent.</b> : turn.answers ? <Chip answer={turn.answer} why={turn.why} marks={marks} /> : <span class="soft">no answer was asked for</span>}
        {turn.answers && turn.confidence !== null ? <span>{percent(turn.confidence)} sure</span> : null}
        {changed !== undefined ? <span class="was">changed; it was <Chip answer={changed.before} why={changed.why} marks={marks} /></span> : null}
        <span class="soft">{clock(turn.at)}{turn.began !== null ? `, after ${seconds(turn.at - turn.began)}` : ""}</span>
      </p>
      {retries.map((retry) => <p key={retry.at} class="retry">Attempt {retry.attempt} failed at {clock(retry.at)} and was tried again after {seconds(retry.wait)}: <Short text={retry.error} most={400} /></p>)}
    </>
  );
}

function SaidHere({ story, turn, full, loading }: { story: Story; turn: Turn; full: FullCall | null; loading: boolean }) {
  const error = errorOf(turn);
  if (error !== null)
    return <p class="retry">Nothing: its voice is absent. <Short text={turn.call?.error?.message || error} most={1_000} /></p>;
  if (full?.reply) return <Reply reply={full.reply} />;
  if (turn.text === null)
    return <p class="soft">{story.run?.content === false ? "This run keeps no content: only figures are known." : "Its text is not kept."}</p>;
  const cut = turn.chars > turn.text.length;
  return (
    <>
      {turn.kept ? <p class="soft">It was not asked: it kept what it had said, or followed the others by rule.</p> : null}
      <Said text={turn.text} />
      {cut ? <p class="soft">{loading ? "The rest is on its way." : `The first ${count(turn.text.length)} of ${count(turn.chars)} characters; the rest is not here.`}</p> : null}
    </>
  );
}

// The prompt, with what of others stands in it.
function Shown(props: { source: Source; story: Story; debate: Debate; turn: Turn; onOpen: (key: string) => void; full: FullCall | null; got: FullCall | string | null }) {
  const { source, story, debate, turn, onOpen, full, got } = props;
  const whole = useTexts(source, debate, turn);
  const request = full?.request ?? null;
  const found = useMemo(() => request === null ? null : quotesIn(request.messages, candidates(story, debate, turn, whole)), [request, whole, turn]);
  const read = turn.reads;
  return (
    <>
      <ReadList debate={debate} keys={read} found={found === null ? null : new Set(found.quotes.map((quote) => quote.turn.key))} onOpen={onOpen} />
      {turn.call === null ? <p class="soft">{turn.kept ? "Nothing: it was not asked." : errorOf(turn) !== null ? "The call was not made, or is not kept." : "It is a group: its members were shown what stands in their calls, above."}</p>
        : got === null ? <p class="soft">Loading…</p>
        : request === null ? <p class="soft">{story.run?.content === false ? "This run keeps no content, so what was shown is not known." : "The request is not kept."}</p>
        : <Prompt messages={request.messages} quotes={found?.quotes ?? []} onOpen={onOpen} />}
    </>
  );
}

function ReadList({ debate, keys, found, onOpen }: { debate: Debate; keys: string[]; found: Set<string> | null; onOpen: (key: string) => void }) {
  const [all, setAll] = useState(false);
  if (keys.length === 0) return <p class="soft">It read nobody: no other turn was shown.</p>;
  const shown = all ? keys : keys.slice(0, 30);
  return (
    <>
      <p class="soft">{plural(keys.length, "turn")} of others or its own {keys.length === 1 ? "was" : "were"} shown, in this order; in the margin below, where each stands.</p>
      <ol class="read">
        {shown.map((key) => {
          const other = debate.byKey.get(key);
          const [agent, round, phase] = JSON.parse(key) as [string, number, string];
          return (
            <li key={key}>
              <button type="button" class="by" disabled={other === undefined} onClick={() => onOpen(key)}><Short text={agent} most={40} /></button>{" "}
              <span class="soft">round {round}, <Short text={phase} most={30} />{found !== null && !found.has(key) ? "; not word for word" : ""}</span>
              {other?.answers ? <> <Chip answer={other.answer} why={other.why} marks={marksIn(debate)} most={24} /></> : null}
            </li>
          );
        })}
      </ol>
      {shown.length < keys.length ? <button type="button" onClick={() => setAll(true)}>Show all {keys.length}</button> : null}
    </>
  );
}

// Whole texts of the turns that were read, where a list has only their beginnings; by key.
function useTexts(source: Source, debate: Debate, turn: Turn): Map<string, string> {
  const [texts, setTexts] = useState<Map<string, string>>(new Map());
  useEffect(() => {
    let gone = false;
    const cut = [...turn.reads, ...ownBefore(debate, turn).map((own) => own.key)].flatMap((key) => {
      const other = debate.byKey.get(key);
      return other?.call && other.text !== null && other.chars > other.text.length ? [other] : [];
    }).slice(0, FETCHED);
    setTexts(new Map());
    if (cut.length === 0) return;
    Promise.all(cut.map((other) => source.call(other.call!.id).then((full) => [other.key, full.reply?.text ?? ""] as const, () => null)))
      .then((all) => gone || setTexts(new Map(all.filter((one) => one !== null))));
    return () => { gone = true; };
  }, [source, turn.key]);
  return texts;
}

const ownBefore = (debate: Debate, turn: Turn): Turn[] =>
  debate.turns.filter((other) => other.agent === turn.agent && other.n < turn.n).reverse().slice(0, 8);

function candidates(story: Story, debate: Debate, turn: Turn, whole: Map<string, string>): Candidate[] {
  const digests = new Map<string, string>();
  const start = `${prefixOf(debate)}${MODERATOR}/`;
  for (const call of story.calls)
    if (call.text !== null && call.path.startsWith(start)) digests.set(call.path.slice(start.length), call.text.replace(/…$/, ""));
  const of = (other: Turn, own: boolean): Candidate => {
    const text = whole.get(other.key) ?? known(other);
    return { turn: other, text, digest: digests.get(`${other.round}/digest/${other.agent}/${other.phase}`) ?? null, own };
  };
  const read = turn.reads.flatMap((key) => debate.byKey.get(key) ?? []);
  return [...read.map((other) => of(other, false)), ...ownBefore(debate, turn).filter((own) => !turn.reads.includes(own.key)).map((own) => of(own, true))];
}

// Calls below the turn's own place: of a group's members, a router's stages, or a debate that is its agent.
function Below(props: { source: Source; story: Story; debate: Debate; turn: Turn; onDebate?: (path: string) => void }) {
  const { source, story, debate, turn, onDebate } = props;
  const place = pathOf(debate, turn);
  const calls = useMemo(() => story.calls.filter((call) => call.path.startsWith(`${place}/`)), [story.calls, story.calls.length, place]);
  const [all, setAll] = useState(false);
  const inner = [...story.debates.keys()].filter((path) => path === place || path.startsWith(`${place}/`));
  if (calls.length === 0 && inner.length === 0) return null;
  return (
    <section>
      <h3>Who answered for it</h3>
      <p class="soft">{inner.length > 0 ? `It is a group: ${plural(calls.length, "call")} of its members, in a debate of their own, made this turn.` : `It is made of other models: ${plural(calls.length, "call")} made this turn.`}</p>
      {onDebate === undefined ? null : inner.map((path) => <button key={path} type="button" onClick={() => onDebate(path)}>Open {inner.length === 1 ? "that debate" : <Short text={path.slice(place.length + 1) || path} />}</button>)}
      {(all ? calls : calls.slice(0, 40)).map((call) => <Member key={call.id} call={call} place={place} source={source} />)}
      {!all && calls.length > 40 ? <button type="button" onClick={() => setAll(true)}>Show all {calls.length}</button> : null}
    </section>
  );
}

function Member({ call, place, source }: { call: CallRecord; place: string; source: Source }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="member" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary><Short text={call.path.slice(place.length + 1)} most={90} /> <span class="soft"><Short text={call.model} most={50} />, {call.error === null ? seconds(call.seconds) : "failed"}</span></summary>
      {open ? <MemberBody call={call} source={source} /> : null}
    </details>
  );
}

function MemberBody({ call, source }: { call: CallRecord; source: Source }) {
  const got = useCall(source, call);
  if (got === null) return <p class="soft">Loading…</p>;
  if (typeof got === "string") return <p class="retry">{got}</p>;
  return (
    <>
      {call.error !== null ? <p class="retry">It failed: <Short text={call.error.message} most={1_000} /></p> : null}
      {got.reply !== null ? <Reply reply={got.reply} /> : call.error === null ? <p class="soft">Its text is not kept.</p> : null}
      <h4>What it was shown</h4>
      <Prompt messages={got.request?.messages ?? null} quotes={[]} />
      <Figures call={call} full={got} />
    </>
  );
}

function Others({ story, debate, turn, onOpen }: { story: Story; debate: Debate; turn: Turn; onOpen: (key: string) => void }) {
  const readers = useMemo(() => readersOf(debate, turn), [debate, turn.key, debate.turns.length]);
  const tries = story.calls.filter((call) => call.path === turn.call?.path && call !== turn.call);
  return (
    <>
      {tries.length > 0 ? <><h3>Other calls of this turn</h3>{tries.map((call) => (
        <p key={call.id} class={call.error === null ? "soft" : "retry"}>{clock(call.begun)}, <Short text={call.model} />: {call.error === null ? "answered" : <Short text={call.error.message} most={600} />}</p>
      ))}</> : null}
      <h3>Who read it</h3>
      {readers.length === 0 ? <p class="soft">Nobody{story.run?.status === "running" ? ", so far" : ""}.</p> : (
        <p class="readers">{readers.slice(0, 60).map((other) => (
          <span key={other.key}><button type="button" class="by" onClick={() => onOpen(other.key)}><Short text={other.agent} most={40} /><Hidden>: open round {other.round}</Hidden></button> <span class="soft">round {other.round}</span></span>
        ))}{readers.length > 60 ? <span class="soft">and {plural(readers.length - 60, "other")}</span> : null}</p>
      )}
    </>
  );
}
