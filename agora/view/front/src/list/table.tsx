// Runs as a table; as cards where there is no room for one.

import { useMemo } from "preact/hooks";
import { compact, count, duration, money } from "../format";
import { State, When } from "../parts";
import type { RunRecord } from "../records";
import { Short } from "../text";
import { Link, runAddress } from "../way";
import type { Sort } from "./query";

interface Props {
  runs: readonly RunRecord[];
  sort: Sort;
  chosen: readonly string[];
  today: number;
  onSort(sort: Sort): void;
  onChoose(id: string, chosen: boolean): void;
}

const COLUMNS: [label: string, sort: Sort | null, title: string, class_: string][] = [
  ["Question", null, "", "question"],
  ["Status", null, "", ""],
  ["Answer", null, "", ""],
  ["Rounds", null, "Rounds of debate after the first answers", "number"],
  ["Calls", "calls", "The most calls first", "number"],
  ["Tokens", "tokens", "The most tokens first, in and out together", "number"],
  ["Cost", "cost", "The dearest first", "number"],
  ["Model time", "seconds", "The most time of models first; they may answer side by side", "number"],
  ["When", "created", "The newest first", "number"],
];

// roles are said, as a table whose parts are laid out as cards loses them
export function RunTable(props: Props) {
  const { sort, onSort } = props;
  return (
    <table class="table runs" role="table" aria-label="Runs">
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col"><span class="hidden">Compare</span></th>
          {COLUMNS.map(([label, by, title, class_]) => (
            <th key={label} role="columnheader" scope="col" class={class_} aria-sort={by !== null && by === sort ? "descending" : undefined}>
              {by === null ? <span title={title || undefined}>{label}</span> : (
                <button type="button" class="sort" title={title} onClick={() => onSort(by)}>
                  {label}<span aria-hidden="true">{by === sort ? " ↓" : ""}</span>
                </button>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {props.runs.map((run) => {
          const chosen = props.chosen.includes(run.id);
          return (
            <Row
              key={run.id} run={run} chosen={chosen} full={!chosen && props.chosen.length >= 2}
              today={props.today} onChoose={props.onChoose}
            />
          );
        })}
      </tbody>
    </table>
  );
}

function Row(props: { run: RunRecord; chosen: boolean; full: boolean; today: number; onChoose: Props["onChoose"] }) {
  const { run, chosen, full, onChoose } = props;
  const ask = run.question === null ? null : run.question.replace(/\s+/g, " ").trim();
  // a row is drawn again where it tells something else, not whenever the list is
  return useMemo(() => (
    <tr role="row" class={chosen ? "chosen" : undefined}>
      <td role="cell" class="choose">
        <input
          type="checkbox" checked={chosen} disabled={full} title={full ? "Two are chosen" : "Compare"}
          aria-label={`Compare run ${run.id}`} onChange={(event) => onChoose(run.id, event.currentTarget.checked)}
        />
      </td>
      <th role="rowheader" scope="row" class="question">
        <Link to={runAddress(run.id)}>
          {ask === null ? <em>question not kept</em> : ask === "" ? <em>empty question</em> : <Short text={ask} most={140} />}
        </Link>
        <div class="small soft"><Short text={run.name} most={40} /> <code>{run.id.slice(0, 40)}</code></div>
      </th>
      <td role="cell" data-label="Status"><State run={run} /></td>
      <td role="cell" data-label="Answer" class="answer">
        {run.answer !== null ? <Short text={run.answer} most={48} /> : <span class="soft">{run.status === "running" ? "…" : "none"}</span>}
      </td>
      <td role="cell" data-label="Rounds" class="number">{run.rounds ?? <span class="soft">–</span>}</td>
      <td role="cell" data-label="Calls" class="number">
        {count(run.usage.calls)}{run.failed > 0 ? <span class="small failed" title={`${count(run.failed)} failed in the end`}> {count(run.failed)} ✕</span> : null}
      </td>
      <td role="cell" data-label="Tokens" class="number" title={`${count(run.usage.input_tokens)} in, ${count(run.usage.output_tokens)} out`}>
        {compact(run.usage.input_tokens + run.usage.output_tokens)}
      </td>
      <td role="cell" data-label="Cost" class="number">
        {run.usage.usd === null ? <span class="soft">unknown</span> : money(run.usage.usd)}
      </td>
      <td role="cell" data-label="Model time" class="number">{duration(run.usage.seconds)}</td>
      <td role="cell" data-label="When" class="number"><When at={run.created} today={props.today} /></td>
    </tr>
  ), [JSON.stringify(run), chosen, full, props.today, onChoose]);
}
