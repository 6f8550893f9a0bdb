// An answer with its mark, or why there is none.

import { Short } from "../text";
import { colourOf, type Marks } from "./marks";
import "./chip.css";

const NONE = { abstained: "abstained", unparsed: "not readable" } as const;

export function Chip(props: { answer: string | null; why?: "abstained" | "unparsed" | null; marks: Marks; most?: number }) {
  const { answer, why = null, marks } = props;
  if (answer === null)
    return <span class="chip none"><span class="sign" aria-hidden="true">–</span>{why === null ? "no answer" : NONE[why]}</span>;
  const mark = marks.get(answer);
  return (
    <span class="chip" style={{ "--colour": colourOf(mark) }}>
      <span class="sign">{mark?.sign ?? "·"}</span>
      <Short text={answer} most={props.most ?? 60} />
    </span>
  );
}
