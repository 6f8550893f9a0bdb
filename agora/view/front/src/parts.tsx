// Small pieces that several views show: how a run stands, when something was.

import type { RunRecord, Status } from "./records";
import { ago, exact, iso, useNow } from "./time";

const STATES: Record<Status, [sign: string, word: string, meaning: string]> = {
  running: ["●", "running", "It goes on now"],
  done: ["✓", "done", "It came to its end"],
  failed: ["✕", "failed", "An error ended it"],
  killed: ["✕", "killed", "It says that it runs, but no process runs it"],
  interrupted: ["‖", "interrupted", "Somebody stopped it"],
  budget: ["$", "budget", "Its budget was spent before it came to a verdict"],
};
export const wordOf = (status: Status): string => STATES[status][1];

export function State({ run }: { run: Pick<RunRecord, "status"> }) {
  const [sign, word, meaning] = STATES[run.status];
  return <span class={`state ${run.status}`} title={meaning}><span aria-hidden="true">{sign}</span>{word}</span>;
}

// A moment by its age; to the second in its title.
export function When({ at, today }: { at: number; today: number }) {
  return <time dateTime={iso(at)} title={exact(at)}>{ago(at, today)}</time>;
}

// The same where nothing else counts the time.
export function Since({ at }: { at: number }) {
  return <When at={at} today={useNow(30)} />;
}
