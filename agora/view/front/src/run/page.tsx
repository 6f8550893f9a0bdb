// The page of one run: its head, the graph beside the rounds, and what was decided, said and spent; live, and told again.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Seats } from "../seat";
import type { Source } from "../source";
import { Short } from "../text";
import { keep, NOTHING, read, type Opened } from "./address";
import { Calls } from "./calls";
import { Costs } from "./costs";
import { Graph } from "./graph";
import { Decision, Status, Title } from "./head";
import { useStory } from "./live";
import { Messages } from "./messages";
import { Outcome } from "./outcome";
import { Panel, useWide } from "./panel";
import { Reader } from "./reader";
import { useReading } from "./reading";
import { Replay } from "./replay";
import { Rounds } from "./rounds";
import { useSettled } from "./settled";
import { keyOf, verdictOf, type Debate, type Story } from "./story";
import { votersOf, votesOf, words, type Votes } from "./votes";
import { Within, within } from "./within";
import "./page.css";

export function RunPage({ source, id }: { source: Source; id?: string }) {
  const first = useRef(source).current; // of a run that is in the page: read once
  const { story, whole, error, following, again } = useStory(first);
  const [at, setAt] = useState<number | null>(null);
  const [opened, setOpened] = useState<Opened>(() => read(location.hash) ?? NOTHING);

  const open = useCallback((change: Partial<Opened>) => setOpened((old) => ({ ...old, ...change })), []);
  useEffect(() => keep(opened), [opened]);
  useEffect(() => {
    const moved = (): void => {
      const to = read(location.hash);
      if (to !== null) setOpened(to);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const run = story?.run ?? null;
  useEffect(() => {
    if (run !== null && id !== undefined) document.title = `${(run.question ?? run.name).slice(0, 80)} · agora`;
  }, [run?.question]);

  if (error !== null && story === null)
    return (
      <p class="empty" role="alert">
        {error}
      </p>
    );
  if (story === null || whole === null || run === null)
    return (
      <p class="empty" role="status">
        Reading the run…
      </p>
    );
  const newest = story.debates.get(opened.debate) ?? story.main;
  return (
    <article class="run">
      {id !== undefined && story.seats.size > 0 && <Seats story={story} run={id} />}
      {newest === null ? (
        <Bare story={story} id={id} again={again} error={error} />
      ) : (
        <Told {...{ story, whole, newest, at, setAt, opened, open, following, again, id, error }} source={first} />
      )}
    </article>
  );
}

// A run without a debate: not begun yet, failed before it began, or a model that is none.
function Bare({ story, id, again, error }: { story: Story; id: string | undefined; again: () => void; error: string | null }) {
  const run = story.run!;
  return (
    <>
      <header>
        <Title run={run} />
        {run.answer !== null && (
          <p class="verdict middling">
            <strong>
              <Short text={run.answer} most={400} />
            </strong>
          </p>
        )}
        <Status run={run} debate={null} id={id} onAgain={again} />
        {error !== null && (
          <p role="alert" class="ended">
            {error}
          </p>
        )}
      </header>
      {story.calls.length > 0 ? (
        <Calls calls={story.calls} />
      ) : (
        <p class="empty">{run.status === "running" ? "It has begun; nobody has been asked yet." : "Nobody was asked."}</p>
      )}
    </>
  );
}

interface ToldProps {
  story: Story;
  whole: Story;
  newest: Debate;
  at: number | null;
  setAt: (at: number | null) => void;
  opened: Opened;
  open: (change: Partial<Opened>) => void;
  following: boolean;
  again: () => void;
  id: string | undefined;
  error: string | null;
  source: Source;
}

function Told({ story, whole, newest, at, setAt, opened, open, following, again, id, error, source }: ToldProps) {
  const run = story.run!,
    wide = useWide();
  const shown = useMemo(() => (at === null ? story : whole.until(at)), [story, whole, at]);
  // before it began there is nobody to show: then those who will take part
  const debate = shown.debates.get(newest.path) ?? before(newest);
  // an answer keeps its mark, whatever has been told of the run
  const all = useMemo(() => votesOf(newest), [newest]);
  const votes = useMemo(() => (debate === newest ? all : votesOf(debate, all.marks)), [debate, all]);
  const { readings, strong } = useReading(shown, newest, debate, at !== null || following);
  const inner = useMemo(() => within(shown, debate.path), [shown.debates.size, debate.path]);
  const going = at !== null || run.status === "running";
  const onOpen = useCallback((turn: string) => open({ turn }), []);
  const onClose = useCallback(() => open({ turn: null }), []);
  const onSelect = useCallback((agent: string | null) => open({ agent }), []);
  const onInner = useCallback((path: string) => open({ debate: path, turn: null, agent: null }), []);
  // what stands further down follows a little later, so that the picture moves smoothly
  const later = useSettled(useMemo(() => ({ story: shown, debate }), [shown, debate]));
  const rest = useMemo(
    () =>
      later !== null && (
        <>
          <Outcome story={later.story} debate={later.debate} />
          <Costs story={later.story} debate={later.debate} />
          <Messages story={later.story} debate={later.debate} selected={opened.turn} onOpen={onOpen} source={source} />
        </>
      ),
    [later, opened.turn],
  );
  const turn = opened.turn === null ? undefined : (debate.byKey.get(opened.turn) ?? newest.byKey.get(opened.turn));
  const selected = opened.agent !== null && debate.agents.includes(opened.agent) ? opened.agent : null;
  return (
    <div class={turn !== undefined && wide ? "split" : undefined}>
      <div class="told">
        <header>
          <Title run={run} />
          {debate.path === "" && <Decision debate={debate} votes={votes} going={going} />}
          <Status run={run} debate={at === null ? debate : null} id={id} onAgain={again} />
          {error !== null && (
            <p role="alert" class="ended">
              {error}
            </p>
          )}
          <Within story={story} debate={debate} onInner={onInner} />
          {debate.path !== "" && <Decision debate={debate} votes={votes} going={going} />}
        </header>
        <Announcer debate={debate} votes={votes} />
        <Replay events={story.events} path={debate.path} at={at} live={following} onMove={setAt} />
        <div class="stage">
          <Graph
            key={debate.path}
            debate={debate}
            votes={votes}
            selected={selected}
            onSelect={onSelect}
            readings={readings}
            strong={strong}
          />
          <Rounds
            debate={debate}
            votes={votes}
            voters={votersOf(all, newest)}
            inner={inner}
            selected={selected}
            open={turn?.key ?? null}
            onOpen={onOpen}
            onSelect={onSelect}
            onInner={onInner}
          />
        </div>
        {rest}
      </div>
      {turn !== undefined && (
        <Panel wide={wide} onClose={onClose}>
          <Reader source={source} story={story} debate={newest} turn={turn} onOpen={onOpen} onClose={onClose} onDebate={onInner} />
        </Panel>
      )}
    </div>
  );
}

const before = (debate: Debate): Debate => ({
  ...debate,
  turns: [],
  byKey: new Map(),
  speaking: new Map(),
  rounds: [],
  verdict: null,
  ended: null,
});

// Says what has come about to who cannot see it: rounds and the verdict, and of many at once the last.
function Announcer({ debate, votes }: { debate: Debate; votes: Votes }) {
  const [said, setSaid] = useState("");
  const mark = keyOf(debate.path, debate.rounds.length, debate.verdict === null ? "" : "decided"),
    known = useRef(mark);
  useEffect(() => {
    if (known.current === mark) return;
    known.current = mark;
    const timer = setTimeout(() => {
      const over = debate.rounds.at(-1),
        column = votes.columns.find(({ round }) => round === over?.index);
      const verdict = verdictOf(debate);
      if (verdict !== null) setSaid(`Verdict: ${verdict.answer?.slice(0, 200) ?? "no answer"}. ${verdict.reason.slice(0, 200)}`);
      else if (debate.verdict !== null) setSaid("It came to a verdict, which is not kept.");
      else if (over !== undefined && column !== undefined) setSaid(`Round ${over.index} is over: ${words(column)}.`);
    }, 700);
    return () => clearTimeout(timer);
  }, [mark]);
  return (
    <p class="vh" role="status" aria-live="polite">
      {said}
    </p>
  );
}
