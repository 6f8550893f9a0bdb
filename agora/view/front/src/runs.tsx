// The list of runs: filtered by what stands in the address, told anew while something runs.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { FilterBar } from "./list/filters";
import { addressOf, extended, filtered, type Filters, filtersOf, goesOn, inOrder, merged, requestOf } from "./list/query";
import { RunTable } from "./list/table";
import type { RunRecord } from "./records";
import { ask } from "./source";
import { plural } from "./format";
import { now, useNow } from "./time";
import { go, Link } from "./way";
import "./list/runs.css";

interface Listed { runs: readonly RunRecord[]; more: boolean; names: string[]; store: string }
const PAGE = 50, MOST = 200;
const LIVE = 3_000, QUIET = 15_000; // milliseconds until it is told anew: while something runs, and else

// what was shown last, so that who comes back from a run finds the list as it was, at once
const shown = new Map<string, Listed>();

export function RunList({ query }: { query: URLSearchParams }) {
  const filters = useMemo(() => filtersOf(query), [query.toString()]);
  const address = addressOf(filters);
  const [, draw] = useState(0);
  const [wrong, setWrong] = useState<string | null>(null);
  const [loading, setLoading] = useState(false);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const first = useRef<HTMLInputElement>(null);
  const asked = useRef(0);
  const today = useNow(10);
  const listed = shown.get(address);
  const running = listed?.runs.some(goesOn) ?? false;

  const keep = (list: Listed) => {
    shown.delete(address);
    shown.set(address, list);
    for (const old of shown.keys()) if (shown.size > 20) shown.delete(old);
    draw((n) => n + 1);
  };
  // `fresh`: its beginning anew; else what comes after its end
  const load = async (fresh: boolean) => {
    const turn = ++asked.current;
    const before = shown.get(address);
    const limit = fresh ? Math.min(MOST, Math.max(PAGE, before?.runs.length ?? 0)) : PAGE;
    if (!fresh) setLoading(true);
    try {
      const told = await ask<Listed>(requestOf(filters, now(), limit, fresh ? 0 : before?.runs.length ?? 0));
      if (turn !== asked.current) return; // something else is asked for by now
      if (before === undefined) keep(told);
      else if (fresh) keep({ ...told, runs: merged(before.runs, told.runs, told.more), more: told.more && (before.runs.length <= told.runs.length || before.more) });
      else keep({ ...told, runs: extended(before.runs, told.runs) });
      setWrong(null);
    } catch (error) {
      if (turn === asked.current) setWrong((error as Error).message);
    } finally {
      if (!fresh) setLoading(false);
    }
  };
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    void latest.current(true);
    return () => void asked.current++;
  }, [address]);
  useEffect(() => {
    const again = () => {
      if (!document.hidden) void latest.current(true);
    };
    const timer = setInterval(again, running ? LIVE : QUIET);
    document.addEventListener("visibilitychange", again);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [running]);
  useEffect(() => {
    const find = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement;
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || at.isContentEditable) return;
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && (at as HTMLInputElement).type !== "checkbox") return;
      event.preventDefault();
      first.current?.focus();
      first.current?.select();
    };
    addEventListener("keydown", find);
    return () => removeEventListener("keydown", find);
  }, []);

  const change = (some: Partial<Filters>, typed = false) => go(addressOf({ ...filters, ...some }), typed);
  const choose = useCallback((id: string, on: boolean) => setChosen((ids) => (on ? [...ids.slice(-1), id] : ids.filter((one) => one !== id))), []);
  const rows = useMemo(() => (listed === undefined ? [] : inOrder(listed.runs, filters.sort)), [listed, filters.sort]);
  const none = listed !== undefined && listed.runs.length === 0;
  const bare = none && !filtered(filters) && listed.names.length === 0;

  return (
    <>
      <h1>Runs</h1>
      {bare ? null : <FilterBar filters={filters} names={listed?.names ?? []} first={first} onChange={change} />}
      {wrong === null ? null : (
        <div class="notice wrong" role="alert">
          <p><strong>The runs cannot be read.</strong> {wrong} <button type="button" onClick={() => void load(true)}>Try again</button></p>
        </div>
      )}
      {listed === undefined ? wrong === null ? <p class="empty" role="status">Reading the store…</p> : null : bare ? <Empty store={listed.store} /> : none ? (
        <p class="empty">
          {filters.items !== "1" && !filtered(filters) ? "Only items of evaluations are in this store. " : "No run is like that. "}
          {filtered(filters) ? <Link to="/">All runs</Link> : <Link to="/?items=1">Show them</Link>}
        </p>
      ) : (
        <>
          <RunTable runs={rows} sort={filters.sort} chosen={chosen} today={today} onSort={(sort) => change({ sort })} onChoose={choose} />
          <div class="foot">
            <span class="soft small" role="status">
              {plural(rows.length, "run")}{listed.more ? ", and there are more" : ""}{running ? `; ${plural(rows.filter(goesOn).length, "goes", "go")} on now` : ""}
            </span>
            {listed.more ? <button type="button" disabled={loading} onClick={() => void load(false)}>{loading ? "Loading…" : "Load more"}</button> : null}
            <span class="soft small store">{listed.store}</span>
          </div>
          <Chosen ids={chosen} onClear={() => setChosen([])} />
        </>
      )}
    </>
  );
}

function Chosen({ ids, onClear }: { ids: readonly string[]; onClear(): void }) {
  const address = `/compare?${ids.map((id) => `run=${encodeURIComponent(id)}`).join("&")}`;
  return (
    <div class={ids.length === 0 ? "hidden" : "chosen-bar"} role="status">
      {ids.length === 0 ? null : (
        <>
          <span>{ids.length === 1 ? "One run is chosen: choose another to compare them." : "Two runs are chosen."}</span>
          {ids.length === 2 ? <Link to={address} class="button primary">Compare</Link> : null}
          <button type="button" onClick={onClear}>Clear</button>
        </>
      )}
    </div>
  );
}

function Empty({ store }: { store: string }) {
  return (
    <div class="welcome">
      <p>No run is in this store yet: <code>{store}</code></p>
      <p><Link to="/new" class="button primary">New debate</Link></p>
      <p>Or from a terminal, with four tiny models that come in the box, without a key and without a download:</p>
      <pre class="card command"><code>agora run examples/quickstart.yaml</code></pre>
      <p class="soft">Each run shows up here when it begins, and can be watched while it goes on.</p>
    </div>
  );
}
