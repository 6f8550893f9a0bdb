// A reply with all that belongs to it: its text or tokens, hidden reasoning, the replies underneath, and its figures.

import { useState } from "preact/hooks";
import type { CallRecord, FullCall, FullReply } from "../records";
import { Said, Short } from "../text";
import { Heat } from "./heat";
import { clock, count, percent, plural, seconds, usd } from "./say";

const DEEPEST = 12; // levels of replies underneath replies

export function Reply({ reply, depth = 0 }: { reply: FullReply; depth?: number }) {
  const parts = reply.parts ?? [];
  const [open, setOpen] = useState(false);
  return (
    <>
      <Said text={reply.text} most={depth === 0 ? 20_000 : 3_000} />
      {reply.warnings?.map((warning, i) => <p key={i} class="retry">Note: <Short text={warning} most={1_000} /></p>)}
      {reply.reasoning !== undefined && reply.reasoning !== "" ? (
        <details><summary>Hidden reasoning <span class="soft">{count(reply.reasoning.length)} characters</span></summary><Said text={reply.reasoning} most={6_000} /></details>
      ) : null}
      {reply.tokens !== undefined && reply.tokens.length > 0 ? (
        <details open={depth === 0} onToggle={(event) => setOpen(event.currentTarget.open)}>
          <summary>How sure it was of each token <span class="soft">{plural(reply.tokens.length, "token")}</span></summary>
          {open || depth === 0 ? <Heat reply={reply} /> : null}
        </details>
      ) : null}
      {parts.length > 0 && depth < DEEPEST ? (
        <details class="parts">
          <summary>What it is made of <span class="soft">{plural(parts.length, "reply", "replies")}</span></summary>
          <ol>{parts.map((part, i) => (
            <li key={i}>
              <p class="part-head"><b><Short text={part.model} most={60} /></b> <span class="soft">{usage(part)}{part.route !== undefined ? <>; <Route route={part.route} /></> : null}</span></p>
              <Reply reply={part} depth={depth + 1} />
            </li>
          ))}</ol>
        </details>
      ) : null}
    </>
  );
}

const usage = ({ usage: u }: FullReply): string =>
  `${count(u.input_tokens)} tokens in, ${count(u.output_tokens)} out, ${usd(u.usd)}, ${seconds(u.seconds)}`;

const Route = ({ route: [member, why] }: { route: [string, string] }) => <>went to <Short text={member} most={60} />: <Short text={why} most={300} /></>;

const SETTINGS: Record<string, string> = { max_tokens: "most tokens", top_p: "top p", logprobs: "log-probabilities" };

// The figures of a call, and the settings that it was made with.
export function Figures({ call, full }: { call: CallRecord; full: FullCall | null }) {
  const settings = Object.entries(full?.request?.settings ?? {}).filter(([, value]) => value !== null);
  const rows: [string, preact.ComponentChildren][] = [
    ["model", <Short text={call.model} most={120} />],
    ["tokens", `${count(call.input_tokens)} in${call.cached_tokens > 0 ? ` (${count(call.cached_tokens)} from a cache)` : ""}, ${count(call.output_tokens)} out${call.reasoning_tokens > 0 ? ` (${count(call.reasoning_tokens)} of hidden reasoning)` : ""}`],
    ["cost", usd(call.usd)],
    ["time", `${seconds(call.seconds)}, from ${clock(call.begun)}`],
    ["attempts", count(call.attempts)],
  ];
  if (call.finish !== null) rows.push(["ended", call.finish === "length" ? "cut off: its tokens ran out" : <Short text={call.finish} most={60} />]);
  if (call.logprob !== null) rows.push(["log-probability", `${call.logprob.toFixed(3)} a token, ${percent(Math.exp(call.logprob))} each`]);
  if (call.confidence !== null) rows.push(["its confidence", percent(call.confidence)]);
  if (call.route !== null) rows.push(["route", <Route route={call.route} />]);
  for (const [name, value] of settings)
    rows.push([SETTINGS[name] ?? name.replaceAll("_", " "), <Short text={typeof value === "string" ? value : JSON.stringify(value)} most={300} />]);
  return (
    <>
      {call.error !== null ? <p class="retry">It failed ({call.error.kind}): <Short text={call.error.message} most={1_000} />{call.error.hint ? <> <Short text={call.error.hint} most={600} /></> : null}</p>
        : call.calls === 0 ? <p class="soft">It took nothing: the reply was there before, from this run or a cache.</p> : null}
      <dl class="figures">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      {(full?.reply?.warnings ?? call.warnings).map((warning, i) => <p key={i} class="retry">Note: <Short text={warning} most={1_000} /></p>)}
    </>
  );
}
