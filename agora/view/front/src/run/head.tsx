// The head of a run's page: the question, how it stands, what was decided and why it stopped.

import { useEffect, useState } from "preact/hooks";
import type { RunRecord } from "../records";
import { ask } from "../source";
import { Plain, Short } from "../text";
import { exact } from "../time";
import { Chip } from "./chip";
import { verdictOf, type Debate } from "./story";
import { list, words, type Votes } from "./votes";

export function duration(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const ENDED: Record<RunRecord["status"], string> = {
  running: "Running",
  done: "Done",
  killed: "It was killed: nothing runs it any more",
  failed: "It failed",
  interrupted: "It was interrupted",
  budget: "A budget ended it without a verdict",
};

export function Title({ run }: { run: RunRecord }) {
  const question = run.question;
  return (
    <h1 class={question !== null && question.length > 160 ? "long" : undefined}>
      {question === null ? (
        <span class="soft">{run.name || "A run"}: its content is not kept</span>
      ) : question.trim() === "" ? (
        <span class="soft">(no question)</span>
      ) : (
        <bdi>
          <Plain text={question} />
        </bdi>
      )}
    </h1>
  );
}

// The status line, and what can be done about the run where a server is there to do it.
export function Status(props: { run: RunRecord; debate: Debate | null; id: string | undefined; onAgain: () => void }) {
  const { run, debate, id } = props;
  const [note, setNote] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const act = async (what: "stop" | "resume"): Promise<void> => {
    setBusy(true);
    setNote(null);
    try {
      await ask(`/api/runs/${encodeURIComponent(run.id)}/${what}`, {});
      setNote(what === "stop" ? "It is told to stop." : "It goes on.");
      if (what === "resume") props.onAgain();
    } catch (error) {
      setNote(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  const running = run.status === "running";
  const speakers = [...new Set([...(debate?.speaking.values() ?? [])].map(({ agent }) => agent))];
  const told = run.reason !== null && run.status !== "done" && !running && run.reason !== "" ? `: ${run.reason}` : "";
  return (
    <div class="status">
      <p>
        <b class={running ? "going" : run.status === "done" ? undefined : "ended"}>{ENDED[run.status]}</b>
        {told !== "" && <Short text={told} most={400} />}
        {running && speakers.length > 0 && (
          <>
            , <bdi>{list(speakers, 4)}</bdi> {speakers.length === 1 ? "speaks" : "speak"}
          </>
        )}
        <span class="soft">
          {" · "}
          {running ? (
            <Elapsed since={run.created} />
          ) : (
            duration(run.usage.seconds > 0 ? Math.max(run.updated - run.created, 0) : run.updated - run.created)
          )}
          {" · "}
          <time dateTime={new Date(run.created * 1000).toISOString()}>{exact(run.created)}</time>
          {run.name !== "" && (
            <>
              {" · "}
              <bdi>{run.name}</bdi>
            </>
          )}
        </span>
      </p>
      {id !== undefined && (
        <p class="actions">
          {running && run.here && (
            <button type="button" disabled={busy} onClick={() => void act("stop")}>
              Stop
            </button>
          )}
          {run.resumable && (
            <button type="button" disabled={busy} onClick={() => void act("resume")}>
              Go on
            </button>
          )}
          <a href={`/runs/${encodeURIComponent(id)}/file`} download>
            Save as a file
          </a>
          <span role="status">{note}</span>
        </p>
      )}
      {run.status !== "done" && !running && !run.resumable && id !== undefined && (
        <p class="soft">
          It cannot go on from here:{" "}
          {run.content ? "the store does not have the file it was made from." : "its content was not kept."}
        </p>
      )}
    </div>
  );
}

function Elapsed({ since }: { since: number }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return <>{duration(now / 1000 - since)}</>;
}

// The verdict, first and large; while there is none, how the votes stand.
export function Decision({ debate, votes, going }: { debate: Debate; votes: Votes; going: boolean }) {
  const verdict = verdictOf(debate);
  if (verdict === null && debate.verdict !== null)
    return <p class="verdict open soft">It came to a verdict, which is not kept.</p>;
  if (verdict === null) {
    const last = votes.columns.findLast((column) => column.votes.size > 0 || column.none > 0 || column.absent > 0);
    if (last === undefined) return null;
    return (
      <p class="verdict open">
        <span class="soft">
          Round {last.round}
          {going ? ", so far" : ""}:
        </span>{" "}
        <Short text={words(last)} most={300} />
      </p>
    );
  }
  const total = Object.values(verdict.support).reduce((sum, weight) => sum + Math.max(0, weight), 0);
  // what a judge decided, nobody may have voted for
  const share =
    verdict.answer === null || verdict.support[verdict.answer] === undefined
      ? null
      : (verdict.confidence ?? (total > 0 ? (verdict.support[verdict.answer] ?? 0) / total : null));
  const size = (verdict.answer?.length ?? 0) < 28 ? "short" : (verdict.answer?.length ?? 0) < 120 ? "middling" : "long";
  return (
    <div class="decision">
      <p class={`verdict ${size}`}>
        {verdict.answer === null ? (
          <strong>No answer</strong>
        ) : size === "long" ? (
          <bdi>
            <Plain text={verdict.answer} />
          </bdi>
        ) : (
          <strong>
            <Chip answer={verdict.answer} why={null} marks={votes.marks} />
          </strong>
        )}
        {share !== null && (
          <span class="share">
            {Math.round(share * 100)}%<span class="soft"> of the weight</span>
          </span>
        )}
      </p>
      <p class="why">
        <Short text={verdict.reason} most={400} />
        {verdict.initial !== verdict.answer && (
          <span class="soft">
            {" "}
            · the first vote {verdict.initial === null ? "gave no answer" : "was "}
            {verdict.initial !== null && <Short text={verdict.initial} most={60} />}
          </span>
        )}
        {verdict.dissent.length > 0 && (
          <span class="soft">
            {" "}
            · {verdict.dissent.length} {verdict.dissent.length === 1 ? "dissents" : "dissent"}
          </span>
        )}
      </p>
    </div>
  );
}
