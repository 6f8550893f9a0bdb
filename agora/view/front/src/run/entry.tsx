// One entry of the table: an agent's answer in a round, how sure it was, and what had changed its mind.

import { Short } from "../text";
import { Chip } from "./chip";
import type { Turn } from "./story";
import { list, type Votes } from "./votes";

interface Props {
  turn: Turn;
  votes: Votes;
  phase: boolean; // its phase is to be named
  open: boolean;
  onOpen: (key: string) => void;
  at: string;
  stop: boolean; // Tab comes to it
  inner: string | null; // path of the debate in it
  onInner: (path: string) => void;
}

export function Entry({ turn, votes, phase, open, onOpen, at, stop, inner, onInner }: Props) {
  const change = votes.changes.get(turn.key),
    sure = turn.confidence;
  const own = `${turn.agent}: `;
  const why =
    turn.error !== null
      ? (turn.error.startsWith(own) ? turn.error.slice(own.length) : turn.error).slice(0, 160)
      : change !== undefined
        ? change.read.length > 0
          ? `after ${list(change.read)}`
          : "changed"
        : turn.kept
          ? "kept, not asked"
          : "";
  return (
    <div class="entry">
      <button
        type="button"
        class={`${open ? "open" : ""} ${change !== undefined ? "changed" : ""}`}
        tabIndex={stop ? 0 : -1}
        data-at={at}
        aria-current={open ? "true" : undefined}
        onClick={() => onOpen(turn.key)}
      >
        <span class="said">
          {phase && <span class="phase">{turn.phase}</span>}
          {turn.error !== null ? (
            <span class="absent">absent</span>
          ) : turn.answers ? (
            <Chip answer={turn.answer} why={turn.why} marks={votes.marks} />
          ) : (
            <span class="soft cut">
              {phase && turn.text !== null ? <Short text={turn.text} most={40} /> : phase ? "spoke" : turn.phase}
            </span>
          )}
          {sure !== null && (
            <span class="sure">
              <span class="bar" aria-hidden="true">
                <span style={{ width: `${Math.max(0, Math.min(100, sure * 100))}%` }} />
              </span>
              {Math.round(sure * 100)}
              <span class="vh"> percent sure</span>
            </span>
          )}
        </span>
        {why !== "" && (
          <span
            class="why"
            title={change !== undefined && change.read.length > 0 ? `changed after reading ${list(change.read, 20)}` : why}
          >
            {change !== undefined && <span aria-hidden="true">↺ </span>}
            {change !== undefined && change.read.length > 0 && <span class="vh">changed </span>}
            <bdi>{why}</bdi>
          </span>
        )}
      </button>
      {inner !== null && (
        <button
          type="button"
          class="inner"
          tabIndex={-1}
          onClick={() => onInner(inner)}
          aria-label={`The debate in ${turn.agent}, round ${turn.round}`}
        >
          debate
        </button>
      )}
    </div>
  );
}
