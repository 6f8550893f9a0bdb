// An answer with its mark: readable without its colour.
import type { Marks } from "./marks";
import "./chip.css";

export function Chip(props: { answer: string | null; why: "abstained" | "unparsed" | null; marks: Marks }) {
  if (props.answer === null) return <span class="chip none">{props.why === "unparsed" ? "could not be read" : "abstained"}</span>;
  const mark = props.marks.get(props.answer);
  return (
    <span class="chip">
      {mark !== undefined && <b class={`mark a${mark.index % 8}`} aria-hidden="true">{mark.sign}</b>}
      <bdi>{props.answer}</bdi>
    </span>
  );
}
