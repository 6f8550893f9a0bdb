// Two runs side by side: what they were asked, what they came to and how, what each took.

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Agents, type Told } from "./compare/agents";
import { agreement, modelsBy, took } from "./compare/facts";
import { type Fact, Two } from "./compare/two";
import { count, duration, money, percent, plural, ratio } from "./format";
import { Since, State } from "./parts";
import type { RunRecord } from "./records";
import { Chip } from "./run/chip";
import { useStory } from "./run/live";
import { type Marks, marksOf } from "./run/marks";
import { Shares } from "./run/shares";
import type { Story } from "./run/story";
import { votersOf, votesOf } from "./run/votes";
import { served } from "./source";
import { Said, Short } from "./text";
import { useNow } from "./time";
import { go, Link, runAddress } from "./way";
import "./compare/compare.css";

const addressOf = (ids: string[]): string => `/compare?${ids.map((id) => `run=${encodeURIComponent(id)}`).join("&")}`;

export function Comparison({ ids }: { ids: string[] }) {
  const [first, second] = ids;
  if (first === undefined || second === undefined)
    return (
      <>
        <h1>Two runs side by side</h1>
        <p class="empty">Choose two in the <Link to="/">list of runs</Link>, then Compare.</p>
      </>
    );
  return <Pair first={first} second={second} />;
}

function Pair({ first, second }: { first: string; second: string }) {
  const [sourceA, sourceB] = useMemo(() => [served(first), served(second)], [first, second]);
  const a = useStory(sourceA), b = useStory(sourceB);
  const [side, setSide] = useState<"a" | "b">("a");
  const wrong = [[first, a.error], [second, b.error]].filter(([, error]) => error !== null);
  return (
    <>
      <div class="row between">
        <h1>Two runs side by side</h1>
        <button type="button" onClick={() => go(addressOf([second, first]), true)}>Swap</button>
      </div>
      {wrong.map(([id, error]) => <p key={id} class="notice wrong" role="alert"><strong>Run {id} cannot be shown.</strong> {error}</p>)}
      {a.story?.run && b.story?.run ? (
        <div class="pair" data-side={side}>
          <fieldset class="sides">
            <legend class="hidden">Which run is shown</legend>
            {(["a", "b"] as const).map((one) => (
              <label key={one}>
                <input type="radio" name="side" checked={side === one} onChange={() => setSide(one)} />
                <span>Run {one === "a" ? 1 : 2} <Short text={(one === "a" ? a : b).story!.run!.name} most={24} /></span>
              </label>
            ))}
          </fieldset>
          <Facts a={a.story} b={b.story} />
        </div>
      ) : wrong.length === 0 ? <p class="empty" role="status">Reading both runs…</p> : null}
    </>
  );
}

// useStory gives another object whenever there is more
function useTold(story: Story, marks: Marks): Told | null {
  return useMemo(() => {
    const debate = story.main;
    return debate === null ? null : { debate, votes: votesOf(debate, marks), models: modelsBy(debate) };
  }, [story, marks]);
}

function Facts({ a, b }: { a: Story; b: Story }) {
  const runA = a.run!, runB = b.run!;
  const marks = useMemo(() => marksOf([a, b].flatMap((story) => [
    ...(story.main?.turns.map((turn) => turn.answer) ?? []), story.run?.answer ?? null,
  ])), [a, b]);
  const toldA = useTold(a, marks), toldB = useTold(b, marks);
  return (
    <>
      <Heads a={runA} b={runB} />
      <h2>What they came to</h2>
      <p class="together">{together(runA, runB)}</p>
      <Two label="What they came to" facts={outcomes(a, b, toldA, toldB, marks)} />
      <h2>What they took</h2>
      <Took a={a} b={b} />
      {toldA !== null && toldB !== null ? (
        <>
          <h2>How the votes went</h2>
          <div class="halves">
            {[toldA, toldB].map((told, i) => (
              <section key={i} class={i === 0 ? "a" : "b"} aria-label={`Votes of run ${i + 1}`}>
                <h3>Run {i + 1}</h3>
                <Shares votes={told.votes} voters={votersOf(told.votes, told.debate)} verdict={told.debate.verdict} />
              </section>
            ))}
          </div>
          <h2>Who said what</h2>
          <Agents a={toldA} b={toldB} marks={marks} />
        </>
      ) : <p class="empty">{toldA === null && toldB === null ? "Neither" : `Run ${toldA === null ? 1 : 2}`} has no debate to compare by its rounds.</p>}
      <h2>How they were set up</h2>
      <Two label="How they were set up" facts={setups(runA, runB, toldA, toldB)} />
    </>
  );
}

function Heads({ a, b }: { a: RunRecord; b: RunRecord }) {
  const same = a.question === b.question;
  return (
    <>
      {same && a.question !== null ? <div class="question"><Said text={a.question} most={1_000} /></div> : null}
      {same ? null : <p class="notice"><strong>They were asked different questions,</strong> so what differs below may be owed to that.</p>}
      <div class="halves">
        {[a, b].map((run, i) => (
          <section key={i} class={`card ${i === 0 ? "a" : "b"}`} aria-label={`Run ${i + 1}`}>
            <p class="soft small">Run {i + 1}</p>
            {same ? null : <div class="question">{run.question === null ? <em>question not kept</em> : <Said text={run.question} most={1_000} />}</div>}
            <p><Link to={runAddress(run.id)}><Short text={run.name} most={60} /> <code>{run.id.slice(0, 60)}</code></Link></p>
            <p class="small"><State run={run} /> <span class="soft"><Since at={run.created} /></span></p>
          </section>
        ))}
      </div>
    </>
  );
}

function together(a: RunRecord, b: RunRecord) {
  if (a.status === "running" || b.status === "running") return "Not over yet: what is here is how it stands.";
  if (a.answer === null || b.answer === null) return a.answer === b.answer ? "Neither has an answer." : `Only run ${a.answer === null ? 2 : 1} has an answer.`;
  return a.answer === b.answer ? "Both come to the same answer." : "They come to different answers.";
}

function outcomes(a: Story, b: Story, toldA: Told | null, toldB: Told | null, marks: Marks): Fact[] {
  const pair = <T,>(of: (story: Story, told: Told | null) => T): [T, T] => [of(a, toldA), of(b, toldB)];
  const fact = (label: string, [x, y]: [string | null, string | null], show: (value: string | null) => ComponentChildren): Fact =>
    ({ label, a: show(x), b: show(y), differs: show === chip && x !== y });
  const chip = (answer: string | null) => (answer === null ? <span class="soft">none</span> : <Chip answer={answer} marks={marks} most={120} />);
  const plain = (text: string | null) => (text === null ? <span class="soft">–</span> : <Short text={text} most={300} />);
  return [
    fact("Answer", pair((story) => story.run!.answer), chip),
    // before anybody had read anything; a tie has no winner
    fact("First vote", pair((_, told) => told?.debate.verdict?.initial ?? null), chip),
    fact("Confidence", pair((_, told) => (told?.debate.verdict?.confidence == null ? null : percent(told.debate.verdict.confidence))), plain),
    fact("Agreement in the last round", pair((_, told) => {
      const found = told === null ? null : agreement(told.votes);
      return found === null ? null : `${count(found.holds)} of ${count(found.of)} (${percent(found.holds / found.of)})`;
    }), plain),
    fact("Changes of mind", pair((_, told) => (told === null ? null : count(told.votes.changes.size))), plain),
    fact("Why it stopped", pair((story) => story.run!.reason), plain),
  ];
}

// on its own, as a clock may tick in it
function Took({ a, b }: { a: Story; b: Story }) {
  return <Two label="What they took" facts={figures(a, b, useNow(1))} noted />;
}

function figures(a: Story, b: Story, now: number): Fact[] {
  const fact = (label: string, of: (story: Story) => number | null, show: (n: number | null) => string): Fact => {
    const [x, y] = [of(a), of(b)];
    return { label, a: <span class={x === null ? "soft" : undefined}>{show(x)}</span>, b: <span class={y === null ? "soft" : undefined}>{show(y)}</span>, note: ratio(x, y) };
  };
  const counted = (n: number | null) => (n === null ? "–" : count(n));
  const timed = (n: number | null) => (n === null ? "–" : duration(n));
  return [
    fact("Rounds", (story) => story.run!.rounds ?? story.main?.rounds.at(-1)?.index ?? null, counted),
    fact("Calls", (story) => story.run!.usage.calls, counted),
    fact("Tokens in", (story) => story.run!.usage.input_tokens, counted),
    fact("Tokens out", (story) => story.run!.usage.output_tokens, counted),
    fact("Cost", (story) => story.run!.usage.usd, money),
    fact("Time", (story) => took(story, now), timed),
    fact("Model time", (story) => story.run!.usage.seconds, timed),
    fact("Calls that failed", (story) => story.run!.failed, counted),
  ];
}

const LISTED = 24; // agents whose models are told one by one

function setups(a: RunRecord, b: RunRecord, toldA: Told | null, toldB: Told | null): Fact[] {
  const fact = (label: string, x: string | null, y: string | null): Fact => ({
    label, a: x === null ? <span class="soft">–</span> : <Short text={x} most={200} />, b: y === null ? <span class="soft">–</span> : <Short text={y} most={200} />, differs: x !== y,
  });
  const agents = [...new Set([...(toldA?.debate.agents ?? []), ...(toldB?.debate.agents ?? [])])];
  const models = agents.map((agent) => ({ agent, x: toldA?.models.get(agent) ?? null, y: toldB?.models.get(agent) ?? null }));
  const differing = models.filter(({ x, y }) => x !== y);
  const told = models.length <= LISTED ? models : differing.slice(0, LISTED);
  const others = differing.length > LISTED ? `${plural(differing.length - LISTED, "more differs", "more differ")}` : "the same in both";
  const versions = [...new Set([...Object.keys(a.versions), ...Object.keys(b.versions)])].filter((name) => a.versions[name] !== b.versions[name]);
  const graph = (of: Told | null): string | null => (of === null ? null : `${plural(of.debate.agents.length, "agent")}, ${plural(of.debate.edges.length, "edge")}`);
  return [
    fact("Debate", a.name, b.name),
    fact("Seed", String(a.seed), String(b.seed)),
    fact("Graph", graph(toldA), graph(toldB)),
    ...told.map(({ agent, x, y }) => fact(`Model of ${agent}`, x, y)),
    ...(told.length < models.length ? [fact("Models of the others", others, others)] : []),
    ...versions.map((name) => fact(`Version of ${name}`, a.versions[name] ?? null, b.versions[name] ?? null)),
  ];
}
