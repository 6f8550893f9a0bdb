// How each agent voted in both runs, matched by name: a letter a round, then the last answer.

import { useMemo, useState } from "preact/hooks";
import { count, plural } from "../format";
import { Chip } from "../run/chip";
import { colourOf, type Marks } from "../run/marks";
import type { Debate } from "../run/story";
import type { Votes } from "../run/votes";
import { plainly } from "../odd";
import { Short } from "../text";
import { aligned, changes, course, lastOf, type Word } from "./facts";

export interface Told { debate: Debate; votes: Votes; models: Map<string, string> }
const STEP = 60; // rows that are shown at first, and with each press
const ROUNDS = 14; // as long as there are no more, each round has its letter; else those in which something changed

export function Agents({ a, b, marks }: { a: Told; b: Told; marks: Marks }) {
  const [most, setMost] = useState(STEP);
  const [only, setOnly] = useState(false);
  const all = useMemo(() => aligned(a.debate.agents, b.debate.agents), [a.debate.agents, b.debate.agents]);
  const differ = useMemo(
    () => all.filter(({ agent, inA, inB }) => !inA || !inB || lastOf(a.votes, agent) !== lastOf(b.votes, agent)), [all, a.votes, b.votes]);
  const rows = only ? differ : all;
  const shared = all.filter((one) => one.inA && one.inB).length;
  return (
    <>
      <div class="row between">
        <p class="soft small">
          {shared === all.length ? `${plural(all.length, "agent")}, the same names in both` : `${plural(all.length, "name")}, ${count(shared)} in both`}
          ; {count(differ.length)} end{differ.length === 1 ? "s" : ""} differently.
        </p>
        <label class="check small"><input type="checkbox" checked={only} onChange={(event) => setOnly(event.currentTarget.checked)} /> Only who ends differently</label>
      </div>
      <table class="table two agents" role="table" aria-label="Votes of the agents by round">
        <thead role="rowgroup">
          <tr role="row">
            <th role="columnheader" scope="col">Agent</th>
            <th role="columnheader" scope="col" class="a">Run 1, by round</th>
            <th role="columnheader" scope="col" class="a">at last</th>
            <th role="columnheader" scope="col" class="b">Run 2, by round</th>
            <th role="columnheader" scope="col" class="b">at last</th>
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.slice(0, most).map(({ agent, inA, inB }) => (
            <tr key={agent} role="row">
              <th role="rowheader" scope="row"><Short text={agent} most={40} /></th>
              <Cells told={inA ? a : null} agent={agent} marks={marks} side="a" />
              <Cells told={inB ? b : null} agent={agent} marks={marks} side="b" />
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > most ? (
        <p><button type="button" onClick={() => setMost(most + 5 * STEP)}>Show {count(Math.min(5 * STEP, rows.length - most))} more of {count(rows.length)}</button></p>
      ) : null}
    </>
  );
}

function Cells({ told, agent, marks, side }: { told: Told | null; agent: string; marks: Marks; side: "a" | "b" }) {
  if (told === null) return <><td role="cell" class={`${side} soft`}>not there</td><td role="cell" class={side} /></>;
  const standing = told.votes.now.get(agent);
  return (
    <>
      <td role="cell" class={side}><Course words={course(told.votes, agent)} marks={marks} /></td>
      <td role="cell" class={side}>
        {standing?.turn ? <Chip answer={standing.turn.answer} why={standing.turn.why} marks={marks} most={24} /> : <span class="soft">{standing?.absent ? "absent" : "none"}</span>}
      </td>
    </>
  );
}

const said = (word: Word): string => (word.absent ? "absent" : word.answer === null ? word.why ?? "no answer" : plainly(word.answer).slice(0, 60));

function Course({ words, marks }: { words: (Word | undefined)[]; marks: Marks }) {
  const told = changes(words);
  const text = told.map(({ from, word }) => `from round ${from} ${said(word)}`).join(", ");
  const short = words.length > ROUNDS;
  return (
    <span class="course" role="img" aria-label={text === "" ? "no vote" : text}>
      {short ? told.slice(0, ROUNDS).map(({ from, word }) => <Square key={from} word={word} marks={marks} round={from} numbered />)
        : words.map((word, round) => <Square key={round} word={word} marks={marks} round={round} />)}
      {short && told.length > ROUNDS ? <span class="soft small" title="Changes that are not shown">+{told.length - ROUNDS}</span> : null}
    </span>
  );
}

function Square({ word, marks, round, numbered = false }: { word: Word | undefined; marks: Marks; round: number; numbered?: boolean }) {
  if (word === undefined) return <span class="square none" title={`Round ${round}: not asked`} />;
  const mark = word.answer === null || word.absent ? undefined : marks.get(word.answer);
  return (
    <span class="step">
      {numbered ? <span class="from">{round}</span> : null}
      <span
        class={mark === undefined ? "square none" : "square"} title={`Round ${round}: ${said(word)}`}
        style={mark === undefined ? {} : { background: colourOf(mark) }}
      >
        {word.absent ? "×" : mark?.sign ?? "–"}
      </span>
    </span>
  );
}
