// What is debated by: a file that is served, a published protocol, or neither. One choice, in a list that can be searched.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { plural } from "../format";
import { Short } from "../text";
import { matching, type Offers } from "./form";

export function SourcePicker({ offers, value, onChange }: { offers: Offers; value: string; onChange(source: string): void }) {
  const [words, setWords] = useState("");
  const found = useMemo(() => matching(offers.presets, words), [offers, words]);
  const files = useMemo(
    () => matching(offers.files.map((file) => ({ ...file, name: file.id, title: file.question ?? "", paper: "", tags: file.agents })), words),
    [offers, words],
  );
  // what is chosen stays in sight, whatever is looked for
  const away = value.startsWith("preset:") && !found.some((one) => `preset:${one.name}` === value)
    ? offers.presets.filter((one) => `preset:${one.name}` === value) : [];
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    // what an address chose is in sight; the page itself stays where it is
    const at = box.current?.querySelector<HTMLElement>(".choice:has(:checked)");
    if (at && box.current) box.current.scrollTop = at.offsetTop - box.current.offsetTop - 40;
  }, []);
  return (
    <fieldset class="sources">
      <legend class="label">Debate by</legend>
      <label class="field">
        <span class="hidden">Look for a protocol</span>
        <input
          type="search" value={words} placeholder="Look for a protocol: name, idea, paper" autocomplete="off"
          onInput={(event) => setWords(event.currentTarget.value)}
        />
      </label>
      <p class="hidden" role="status">{words === "" ? "" : `${plural(found.length + files.length, "protocol")} found`}</p>
      <div class="choices" ref={box}>
        {words === "" || value === "" ? (
          <Choice value="" chosen={value} onChange={onChange} name="plain debate" title="everybody reads everybody, until all agree or the rounds are over" />
        ) : null}
        {files.map((file) => (
          <Choice key={`file:${file.id}`} value={`file:${file.id}`} chosen={value} onChange={onChange} name={file.id} kind="file"
            title={`${plural(file.agents.length, "agent")}: ${file.agents.slice(0, 6).join(", ")}${file.agents.length > 6 ? ", …" : ""}`} />
        ))}
        {[...away, ...found].map((one) => (
          <Choice key={one.name} value={`preset:${one.name}`} chosen={value} onChange={onChange} name={one.name} title={one.title} paper={one.paper} />
        ))}
        {found.length + files.length === 0 ? <p class="empty">No protocol is like that.</p> : null}
      </div>
    </fieldset>
  );
}

function Choice(props: { value: string; chosen: string; name: string; title: string; paper?: string; kind?: string; onChange(source: string): void }) {
  return (
    <label class="choice">
      <input type="radio" name="source" value={props.value} checked={props.chosen === props.value} onChange={() => props.onChange(props.value)} />
      <span>
        <strong><Short text={props.name} /></strong>{props.kind === undefined ? "" : ` (${props.kind})`}{" "}
        <span><Short text={props.title} most={200} /></span>
        {props.paper ? <span class="soft small paper"> {props.paper}</span> : null}
      </span>
    </label>
  );
}
