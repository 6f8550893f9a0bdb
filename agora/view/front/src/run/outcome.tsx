// How a debate came out: the votes at first and at last, who changed after reading whom, dissent, and why it ended.

import { useMemo, useState } from "preact/hooks";
import type { RunRecord } from "../records";
import { Said, Short } from "../text";
import { Chip } from "./chip";
import { colourOf, type Marks } from "./marks";
import { count, names, percent, plural, weight } from "./say";
import type { Debate, Story } from "./story";
import { marksIn, type Moved, movesOf, standing, verdictOf, type Vote, votesOf } from "./turns";
import "./outcome.css";

const FEW = 12; // of a list that can be long, at first

export function Outcome({ story, debate }: { story: Story; debate: Debate }) {
  const verdict = verdictOf(debate), marks = marksIn(debate);
  const votes = useMemo(() => votesOf(debate), [debate, debate.turns.length, verdict]);
  const moves = useMemo(() => movesOf(debate), [debate, debate.turns.length, verdict]);
  if (verdict === null && debate.verdict !== null)
    return (
      <section class="outcome" aria-label="How it came out">
        <h2>How it came out</h2>
        <p class="ending">It came to a verdict. This run keeps no content, so neither that nor the votes are known.</p>
        <Absent debate={debate} />
      </section>
    );
  return (
    <section class="outcome" aria-label="How it came out">
      <h2>How it came out</h2>
      <Ending story={story} debate={debate} marks={marks} />
      <Votes votes={votes} marks={marks} decided={verdict !== null} chosen={verdict?.answer ?? null} />
      <Absent debate={debate} />
      <Moves moves={moves} marks={marks} debate={debate} />
      <Dissent debate={debate} marks={marks} />
      {verdict?.warnings.map((warning, i) => <div key={i} class="note"><Said text={`Note: ${warning}`} most={300} /></div>)}
    </section>
  );
}

const ENDS: Record<RunRecord["status"], string> = {
  running: "It goes on. The votes as they stand:",
  killed: "Its process ended before there was a verdict. What was answered until then is kept.",
  interrupted: "It was interrupted before there was a verdict.",
  failed: "It failed, and there is no verdict.",
  budget: "A limit of its budget stopped it before there was a verdict.",
  done: "It is over without a verdict of its own.",
};

function Ending({ story, debate, marks }: { story: Story; debate: Debate; marks: Marks }) {
  const verdict = verdictOf(debate), run = story.run;
  if (verdict === null)
    return (
      <>
        <p class="ending">{run === null ? "" : ENDS[run.status]}</p>
        {run !== null && run.status !== "running" && run.reason !== null && debate.path === "" ? <p class="note"><Short text={run.reason} most={1_000} /></p> : null}
      </>
    );
  return (
    <>
      {verdict.answer === null ? <p class="ending"><b>It abstains: there is no answer.</b></p> : null}
      <p class="why"><span class="soft">Why it ended: </span><Short text={verdict.reason} most={1_000} /></p>
      <p class="soft">
        {verdict.rounds === 0 ? null
          : verdict.initial === verdict.answer ? (verdict.answer === null ? "The first answers alone gave no answer either." : "The first answers alone give the same.")
          : verdict.initial === null ? "The first answers alone give no answer."
          : <>The first answers alone give <Chip answer={verdict.initial} marks={marks} most={120} />.</>}
      </p>
    </>
  );
}

function Votes({ votes, marks, decided, chosen }: { votes: Vote[]; marks: Marks; decided: boolean; chosen: string | null }) {
  const [all, setAll] = useState(false);
  if (votes.length === 0) return <p class="empty">Nobody has answered.</p>;
  const sum = votes.reduce((total, vote) => total + vote.weight, 0), most = Math.max(...votes.map((vote) => vote.weight));
  const shown = all ? votes : votes.slice(0, FEW), rest = votes.slice(shown.length);
  return (
    <table class="votes">
      <caption class="sr">Answers: how many agents gave each at first and at last, and the weight behind each</caption>
      <thead><tr><th scope="col">Answer</th><th scope="col" class="n">First</th><th scope="col" class="n">Last</th><th scope="col">{decided ? "Weight behind it" : "Votes"}</th></tr></thead>
      <tbody>
        {shown.map((vote) => (
          <tr key={vote.answer ?? "\0"} class={vote.answer === chosen && chosen !== null ? "chosen" : undefined}>
            <th scope="row">
              {vote.answer === null ? <span class="soft">no vote</span> : <Chip answer={vote.answer} marks={marks} most={120} />}
              {vote.answer === chosen && chosen !== null ? <span class="soft"> the verdict</span> : null}
              {vote.agents.length > 0 ? <span class="voters"><Short text={names(vote.agents, 6)} most={200} /></span> : null}
            </th>
            <td class="n">{count(vote.first)}</td>
            <td class="n">{count(vote.last)}</td>
            <td class="w">{vote.answer === null ? <span class="soft">none</span> : (
              <>
                <span class="bar" aria-hidden="true"><span style={{ width: `${most > 0 ? (100 * vote.weight) / most : 0}%`, background: colourOf(marks.get(vote.answer)) }} /></span>
                <span class="figure">{weight(vote.weight)}{sum > 0 ? <span class="soft"> {percent(vote.weight / sum)}</span> : null}</span>
              </>
            )}</td>
          </tr>
        ))}
      </tbody>
      {rest.length > 0 ? (
        <tfoot><tr>
          <th scope="row"><button type="button" onClick={() => setAll(true)}>{plural(rest.length, "other answer")}</button></th>
          <td class="n">{count(rest.reduce((n, vote) => n + vote.first, 0))}</td><td class="n">{count(rest.reduce((n, vote) => n + vote.last, 0))}</td>
          <td class="w">{weight(rest.reduce((n, vote) => n + vote.weight, 0))}</td>
        </tr></tfoot>
      ) : null}
    </table>
  );
}

function Absent({ debate }: { debate: Debate }) {
  const last = useMemo(() => {
    const errors = new Map<string, string>();
    for (const turn of debate.turns) if (turn.error !== null) errors.set(turn.agent, turn.error);
    return errors;
  }, [debate, debate.turns.length]);
  const absent = debate.verdict?.absent ?? [...last.keys()].filter((name) => !standing(debate).has(name));
  if (absent.length === 0) return null;
  return (
    <>
      <h3>Absent voices</h3>
      <p>{debate.verdict !== null ? "It was decided without " : "Nothing has been heard of "}<Short text={names(absent, 10)} most={600} />.</p>
      <ul class="plain">{absent.slice(0, FEW).map((name) => last.has(name) ? <li key={name}><b><Short text={name} most={60} /></b>: <Short text={last.get(name)!} most={400} /></li> : null)}</ul>
    </>
  );
}

function Moves({ moves, marks, debate }: { moves: Moved[]; marks: Marks; debate: Debate }) {
  const [all, setAll] = useState(false);
  const spoken = debate.turns.some((turn) => turn.round > 0 && turn.answers);
  if (moves.length === 0) return spoken ? <><h3>Who changed</h3><p class="soft">Nobody: each kept its first answer.</p></> : null;
  const shown = all ? moves : moves.slice(0, FEW);
  return (
    <>
      <h3>Who changed</h3>
      <ul class="plain">
        {shown.map((move, i) => (
          <li key={i}>
            <span class="soft">Round {move.round}:</span>{" "}
            {move.from.map((from, j) => (
              <span key={j}>{j === 0 ? "" : j === move.from.length - 1 ? " and " : ", "}<b><Short text={names(from.agents, 8)} most={300} /></b> from <Chip answer={from.before} marks={marks} most={40} /></span>
            ))}
            {" to "}<Chip answer={move.after} marks={marks} most={60} />
            {move.read === null ? "" : move.read.length > 0 ? <>, after reading <b><Short text={names(move.read, 8)} most={300} /></b></> : move.after !== null ? ", which nobody who was read had held" : ""}.
          </li>
        ))}
      </ul>
      {shown.length < moves.length ? <button type="button" onClick={() => setAll(true)}>{count(moves.length - shown.length)} more</button> : null}
    </>
  );
}

function Dissent({ debate, marks }: { debate: Debate; marks: Marks }) {
  const [all, setAll] = useState(false);
  const dissent = verdictOf(debate)?.dissent ?? [];
  if (debate.verdict === null || debate.verdict.answer === null && dissent.length === 0) return null;
  if (dissent.length === 0) return <><h3>Dissent</h3><p class="soft">None: all who spoke ended there.</p></>;
  const shown = all ? dissent : dissent.slice(0, FEW);
  return (
    <>
      <h3>Dissent <span class="soft">{plural(dissent.length, "agent")} ended elsewhere</span></h3>
      {shown.map((one) => <Dissenter key={one.agent} {...one} marks={marks} open={dissent.length <= 3} />)}
      {shown.length < dissent.length ? <button type="button" onClick={() => setAll(true)}>{count(dissent.length - shown.length)} more</button> : null}
    </>
  );
}

function Dissenter(props: { agent: string; answer: string | null; text: string; marks: Marks; open: boolean }) {
  const [open, setOpen] = useState(props.open);
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary><b><Short text={props.agent} most={60} /></b> <Chip answer={props.answer} marks={props.marks} most={60} /></summary>
      {open ? <Said text={props.text} most={3_000} /> : null}
    </details>
  );
}
