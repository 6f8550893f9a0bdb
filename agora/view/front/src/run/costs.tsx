// What a debate took: by agent and round, and over time.

import { useMemo, useState } from "preact/hooks";
import { Short } from "../text";
import { ledgerOf, type Measure, type Sum } from "./ledger";
import { count, plural, seconds, usd } from "./say";
import type { Debate, Story } from "./story";
import { Timeline } from "./timeline";
import "./costs.css";

export const DEAREST = 30; // agents that have a row of their own

const MEASURES: [Measure, string][] = [["usd", "cost"], ["tokensIn", "tokens in"], ["tokensOut", "tokens out"], ["seconds", "time"], ["calls", "calls"]];

function figure(measure: Measure, sum: Sum): string {
  if (!sum.any) return "";
  const known = measure === "usd" ? usd(sum.known) : measure === "seconds" ? seconds(sum.known) : count(sum.known);
  if (!sum.unknown) return sum.known === 0 && measure === "seconds" ? "0 s" : known;
  return sum.known === 0 ? "unknown" : `over ${known}`;
}

export function Costs({ story, debate }: { story: Story; debate: Debate }) {
  const [measure, setMeasure] = useState<Measure | null>(null);
  const cost = useMemo(() => ledgerOf(story, debate, "usd", DEAREST), [story.calls, story.calls.length, debate, debate.rounds.length]);
  const free = cost.total.known === 0 && !cost.total.unknown;
  const by = measure ?? (free ? "tokensOut" : "usd"); // where nothing costs anything, a table of zeros tells nothing
  const ledger = useMemo(() => (by === "usd" ? cost : ledgerOf(story, debate, by, DEAREST)), [cost, by]);
  if (!ledger.total.any && debate.turns.length === 0) return <section class="costs" aria-label="What it took"><h2>What it took</h2><p class="empty">Nothing has been spent.</p></section>;
  return (
    <section class="costs" aria-label="What it took">
      <h2>What it took</h2>
      <fieldset class="switch">
        <legend class="sr">What is shown</legend>
        {MEASURES.map(([one, name]) => (
          <label key={one}><input type="radio" checked={by === one} onChange={() => setMeasure(one)} /><span>{name}</span></label>
        ))}
      </fieldset>
      <Matrix ledger={ledger} measure={by} />
      {by === "usd" && cost.total.unknown ? <p class="soft">The price of some calls is not known; unknown is not counted as nothing.</p> : null}
      {by === "seconds" ? <p class="soft">Time that was waited for models, summed over calls: those that went on at once count each.</p> : null}
      <h3>Over time</h3>
      <Timeline story={story} debate={debate} most={DEAREST} />
    </section>
  );
}

function Matrix({ ledger, measure }: { ledger: ReturnType<typeof ledgerOf>; measure: Measure }) {
  const most = Math.max(0, ...ledger.rows.filter((row) => row.kind === "agent").flatMap((row) => row.cells.map((cell) => cell.known)));
  const name = MEASURES.find(([one]) => one === measure)![1];
  return (
    <div class="matrix" role="region" aria-label={`${name} by agent and round`} tabIndex={0}>
      <table>
        <thead><tr><th scope="col">Agent</th><th scope="col" class="sum">All</th>{ledger.rounds.map((round) => <th key={round} scope="col"><span class="sr">round </span>{round}</th>)}</tr></thead>
        <tbody>
          {ledger.rows.map((row) => (
            <tr key={`${row.kind}/${row.name}`} class={row.kind}>
              <th scope="row">{row.kind === "rest" ? plural(Number(row.name), "other") : row.kind === "moderator" ? "moderator" : <Short text={row.name} most={32} />}</th>
              <td class="sum">{figure(measure, row.total)}</td>
              {row.cells.map((cell, i) => (
                <td key={ledger.rounds[i]}>{figure(measure, cell)}{row.kind === "agent" && most > 0 && cell.known > 0 ? <span class="bar" aria-hidden="true" style={{ width: `${(100 * cell.known) / most}%` }} /> : null}</td>
              ))}
            </tr>
          ))}
        </tbody>
        <tfoot><tr><th scope="row">All</th><td class="sum">{figure(measure, ledger.total)}</td>{ledger.totals.map((sum, i) => <td key={ledger.rounds[i]}>{figure(measure, sum)}</td>)}</tr></tfoot>
      </table>
    </div>
  );
}
