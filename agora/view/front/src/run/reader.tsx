// One turn, as it was said and what was read for it (a stand-in until the real one).
import { useEffect, useRef } from "preact/hooks";
import { Said } from "../text";
import type { Source } from "../source";
import type { Debate, Story, Turn } from "./story";
export function Reader(props: { source: Source; story: Story; debate: Debate; turn: Turn; onOpen: (key: string) => void; onClose: () => void }) {
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => head.current?.focus(), [props.turn.key]);
  return (
    <div>
      <h2 ref={head} tabIndex={-1}>{props.turn.agent}, round {props.turn.round}, {props.turn.phase}</h2>
      <button type="button" onClick={props.onClose}>Close</button>
      <p><Said text={props.turn.text ?? props.turn.error ?? ""} /></p>
    </div>
  );
}
