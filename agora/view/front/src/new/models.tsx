// Who takes part: models found here, or written out, in an order, one as often as wanted.

import { useRef, useState } from "preact/hooks";
import { Short } from "../text";
import { type Found, openEnd, readyFirst } from "./form";

interface Props { found: readonly Found[]; roles: readonly string[]; models: readonly string[]; onChange(models: string[]): void }

export function ModelPicker({ found, roles, models, onChange }: Props) {
  const [entry, setEntry] = useState("");
  const [told, setTold] = useState("");
  const [all, setAll] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const add = (model: string) => {
    const name = model.trim();
    if (name === "") return;
    const begun = openEnd(name);
    if (begun !== null) { // a name is still to be written
      setEntry(begun);
      input.current?.focus();
      setTold(`Write a name after ${begun}`);
      return;
    }
    onChange([...models, name]);
    setEntry("");
    setTold(`${name} is added`);
  };
  const remove = (i: number) => {
    setTold(`${models[i]} is taken out`);
    onChange(models.filter((_, j) => j !== i));
    // the focus stays where the next one to take out is
    requestAnimationFrame(() => {
      const buttons = list.current?.querySelectorAll("button");
      (buttons?.[Math.min(i, buttons.length - 1)] ?? input.current)?.focus();
    });
  };
  const ordered = readyFirst(found);
  const ready = ordered.filter((one) => one.ready).slice(0, 24);
  const shown = all || ready.length === 0 ? ordered.slice(0, 500) : ready;
  return (
    <fieldset class="models">
      <legend class="label">Models</legend>
      {models.length === 0 ? <p class="empty small">None yet: add those that debate.</p> : (
        <ol ref={list}>
          {models.map((model, i) => (
            <li key={i}>
              <Short text={model} />
              <button type="button" class="quiet" aria-label={`Take out ${model}, number ${i + 1}`} title="Take out" onClick={() => remove(i)}>×</button>
            </li>
          ))}
        </ol>
      )}
      {roles.length === 0 ? null : <p class="small soft">The agents of this protocol: {roles.join(", ")}. Models take their places in this order.</p>}
      <div class="found" role="group" aria-label="Found here">
        {shown.map((one) => (
          <button
            key={one.model} type="button" class="add" disabled={!one.ready && openEnd(one.model) === null}
            title={one.ready ? `Add${one.needs === "" ? "" : ` (${one.needs})`}` : `Needs ${one.needs}`} onClick={() => add(one.model)}
          >
            <span aria-hidden="true">+ </span><span class="hidden">Add </span><Short text={one.model} most={48} />
            {one.ready ? null : <span class="small soft"> needs <Short text={one.needs} most={60} /></span>}
          </button>
        ))}
        {shown.length < ordered.length ? <button type="button" class="quiet" onClick={() => setAll(true)}>{ordered.length - shown.length} more{ordered[shown.length]?.ready ? "" : ", which need something"}</button> : null}
      </div>
      <div class="row entry">
        <label class="field">
          <span class="small">Another, as written in a debate file</span>
          <input
            ref={input} value={entry} placeholder="openai:gpt-5-mini" autocomplete="off" spellcheck={false} maxLength={300}
            onInput={(event) => setEntry(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.isComposing) return;
              event.preventDefault(); // it adds, it does not start
              add(entry);
            }}
          />
        </label>
        <button type="button" disabled={entry.trim() === ""} onClick={() => add(entry)}>Add</button>
      </div>
      <p class="hidden" role="status">{told}</p>
    </fieldset>
  );
}
