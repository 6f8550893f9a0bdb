// Evaluations: those the server was given, and the report of one, below our header.

import { useEffect, useState } from "preact/hooks";
import { count } from "./format";
import { Since } from "./parts";
import { ask } from "./source";
import { plainly } from "./odd";
import { Short } from "./text";
import { setTitle } from "./title";
import { Link } from "./way";
import "./evaluations.css";

interface Evaluation { id: string; data: string; items: number; created: number; debates: string[]; scorer: string; path: string }

const addressOf = (id: string): string => `/evaluations?id=${encodeURIComponent(id)}`;
const reportOf = (id: string): string => `/evaluations/${encodeURIComponent(id)}`;

export function Evaluations({ query }: { query: URLSearchParams }) {
  const [told, setTold] = useState<Evaluation[] | null>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  const load = () => {
    setWrong(null);
    ask<{ evaluations: Evaluation[] }>("/api/evaluations").then(({ evaluations }) => setTold(evaluations), (error: Error) => setWrong(error.message));
  };
  useEffect(load, []);
  const id = query.get("id");
  const one = told?.find((evaluation) => evaluation.id === id);
  useEffect(() => setTitle(`${id === null ? "Evaluations" : `Evaluation on ${plainly(one?.data.slice(0, 80) ?? "…")}`} · agora`), [id, one]);

  if (wrong !== null)
    return <><h1>Evaluations</h1><p class="notice wrong" role="alert"><strong>They cannot be read.</strong> {wrong} <button type="button" onClick={load}>Try again</button></p></>;
  if (told === null) return <><h1>Evaluations</h1><p class="empty" role="status">Reading…</p></>;
  if (id !== null)
    return one === undefined ? <><h1>Evaluations</h1><p class="notice">This evaluation is not among those that this server was given. <Link to="/evaluations">All evaluations</Link></p></> : <Report of={one} />;
  return (
    <>
      <h1>Evaluations</h1>
      {told.length === 0 ? <Empty /> : (
        <table class="table evaluations" role="table" aria-label="Evaluations">
          <thead role="rowgroup">
            <tr role="row">
              {["Data", "Debates", "Scored by"].map((label) => <th key={label} role="columnheader" scope="col">{label}</th>)}
              <th role="columnheader" scope="col" class="number">Items</th>
              <th role="columnheader" scope="col" class="number">When</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            {told.map((evaluation) => (
              <tr key={evaluation.id} role="row">
                <th role="rowheader" scope="row">
                  <Link to={addressOf(evaluation.id)}><Short text={evaluation.data} most={80} /></Link>
                  <div class="small soft"><Short text={evaluation.path} most={120} /></div>
                </th>
                <td role="cell" data-label="Debates"><Short text={evaluation.debates.join(", ")} most={160} /></td>
                <td role="cell" data-label="Scored by"><Short text={evaluation.scorer} most={60} /></td>
                <td role="cell" data-label="Items" class="number">{count(evaluation.items)}</td>
                <td role="cell" data-label="When" class="number"><Since at={evaluation.created} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

// The report is a page without scripts, and has none of our rights: it may show itself, no more. It takes on our light or dark.
function Report({ of }: { of: Evaluation }) {
  return (
    <div class="report">
      <header>
        <h1><Link to="/evaluations">Evaluations</Link> <span aria-hidden="true">/</span> <Short text={of.data} most={80} /></h1>
        <a href={reportOf(of.id)}>Open alone</a>
      </header>
      <iframe sandbox="" src={reportOf(of.id)} title={`Report of the evaluation on ${plainly(of.data.slice(0, 80))}`} />
    </div>
  );
}

function Empty() {
  return (
    <div class="welcome">
      <p>This server was given no evaluation.</p>
      <p>Make one, which says with intervals whether a debate helps, and what it costs:</p>
      <pre class="card command"><code>agora eval examples/quickstart.yaml --data pocket:200 --out results</code></pre>
      <p>Then show it:</p>
      <pre class="card command"><code>agora view --results results</code></pre>
    </div>
  );
}
