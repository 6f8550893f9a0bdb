// The filters above the list. What is typed is looked for when the typing pauses.

import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { wordOf } from "../parts";
import { type Filters, STATUSES } from "./query";

interface Props {
  filters: Filters;
  names: readonly string[];
  first: RefObject<HTMLInputElement | null>;
  onChange(change: Partial<Filters>, typed?: boolean): void;
}
const SINCE: [string, string][] = [["", "any time"], ["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"], ["30d", "last 30 days"]];
const MORE = ["answer", "until", "min_usd", "max_usd"] as const;

export function FilterBar({ filters, names, first, onChange }: Props) {
  const inUse = MORE.filter((name) => filters[name] !== "").length + (filters.items === "1" ? 1 : 0);
  const [open, setOpen] = useState(inUse > 0); // what is open stays so while a field in it is emptied
  const known = names.includes(filters.name) || filters.name === "" ? names : [filters.name, ...names];
  const since = SINCE.some(([value]) => value === filters.since) ? SINCE : [...SINCE, [filters.since, `since ${filters.since}`] as [string, string]];
  return (
    <form class="find" role="search" aria-label="Runs" onSubmit={(event) => event.preventDefault()}>
      <div class="row">
        <label class="field wide">
          <span>Question or name <kbd aria-hidden="true" class="key">/</kbd></span>
          <Typed type="search" value={filters.text} input={first} onChange={(text) => onChange({ text }, true)} keys="/" />
        </label>
        <label class="field">
          <span>Status</span>
          <select value={filters.status} onChange={(event) => onChange({ status: event.currentTarget.value })}>
            <option value="">any</option>
            {STATUSES.map((status) => <option key={status} value={status}>{wordOf(status)}</option>)}
          </select>
        </label>
        <label class="field">
          <span>Debate</span>
          <select value={filters.name} onChange={(event) => onChange({ name: event.currentTarget.value })}>
            <option value="">any</option>
            {known.map((name) => <option key={name} value={name}>{name.slice(0, 60)}</option>)}
          </select>
        </label>
        <label class="field">
          <span>When</span>
          <select value={filters.since} onChange={(event) => onChange({ since: event.currentTarget.value })}>
            {since.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
          </select>
        </label>
      </div>
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>More filters{inUse > 0 ? ` (${inUse} in use)` : ""}</summary>
        <div class="row">
          <label class="field">
            <span>Answer</span>
            <Typed type="text" value={filters.answer} onChange={(answer) => onChange({ answer }, true)} />
          </label>
          <label class="field money">
            <span>Cost from, USD</span>
            <Typed type="text" mode="decimal" value={filters.min_usd} onChange={(min_usd) => onChange({ min_usd }, true)} />
          </label>
          <label class="field money">
            <span>to, USD</span>
            <Typed type="text" mode="decimal" value={filters.max_usd} onChange={(max_usd) => onChange({ max_usd }, true)} />
          </label>
          <label class="field">
            <span>Until the end of</span>
            <input type="date" value={filters.until} onChange={(event) => onChange({ until: event.currentTarget.value })} />
          </label>
          <label class="check">
            <input type="checkbox" checked={filters.items === "1"} onChange={(event) => onChange({ items: event.currentTarget.checked ? "1" : "" })} />
            Items of evaluations, too
          </label>
        </div>
      </details>
    </form>
  );
}

function Typed(props: {
  type: "search" | "text"; value: string; mode?: "decimal"; keys?: string; input?: RefObject<HTMLInputElement | null>; onChange(value: string): void;
}) {
  const [value, setValue] = useState(props.value);
  const told = useRef(props.value); // what the address had last, by us or by going back
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    if (props.value === told.current) return;
    clearTimeout(timer.current); // going back counts for more than what was being typed
    told.current = props.value;
    setValue(props.value);
  }, [props.value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const tell = (text: string) => {
    clearTimeout(timer.current);
    if (text === told.current) return;
    told.current = text;
    props.onChange(text);
  };
  return (
    <input
      type={props.type as "text"} value={value} ref={props.input ?? null} inputMode={props.mode ?? "text"} aria-keyshortcuts={props.keys ?? ""}
      autocomplete="off" spellcheck={false} maxLength={300}
      onInput={(event) => {
        const text = event.currentTarget.value;
        setValue(text);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => tell(text), 250);
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter") tell(event.currentTarget.value);
      }}
    />
  );
}
