// What the moderator asked a model in the list of messages: closed until somebody opens it.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { FullCall } from "../records";
import type { Source } from "../source";
import { Said, Short } from "../text";
import type { Context } from "./message";
import { Prompt } from "./prompt";
import { type Candidate, quotesIn } from "./quotes";
import { count, plural, seconds, usd } from "./say";
import type { Debate, Turn } from "./story";
import { type Aside, known } from "./turns";

const LOOKED = 200; // turns that are looked for in a moderator's prompt

// The last turns until the end of a round, which the moderator may have been shown; in their order.
function before(debate: Debate, round: number): Candidate[] {
  const turns: Turn[] = debate.turns.filter((turn) => turn.round <= round && turn.text !== null).slice(-LOOKED);
  return turns.reverse().map((turn) => ({ turn, text: known(turn), digest: null, own: false }));
}

export function AsideEntry({ aside, source, context }: { aside: Aside; source?: Source | undefined; context: Context }) {
  const { call } = aside;
  const [open, setOpen] = useState(false);
  const [role, ...about] = aside.role.split("/");
  return (
    <details class="aside" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="who">moderator</span> <Short text={role ?? ""} most={40} />
        {about.length > 0 ? <span class="soft"> of <Short text={about.join(", ")} most={80} /></span> : null}
        <span class="rest">{call.error === null ? seconds(call.seconds) : "failed"}</span>
        {!open && call.text !== null ? <span class="glance"><Short text={call.text.trim()} most={110} /></span> : null}
      </summary>
      {open ? <AsideBody aside={aside} source={source} context={context} /> : null}
    </details>
  );
}

function AsideBody({ aside, source, context }: { aside: Aside; source?: Source | undefined; context: Context }) {
  const { call } = aside;
  const [whole, setWhole] = useState<FullCall | string | null>(null);
  const [asked, setAsked] = useState(false);
  const clipped = call.text !== null && call.chars > call.text.length;
  useEffect(() => {
    if (source === undefined || !(asked || clipped)) return;
    let gone = false;
    source.call(call.id).then((found) => gone || setWhole(found), (error: Error) => gone || setWhole(error.message));
    return () => { gone = true; };
  }, [source, call.id, asked, clipped]);
  const full = typeof whole === "object" ? whole : null;
  const messages = asked ? (full?.request?.messages ?? null) : null;
  const quotes = useMemo(() => (messages === null ? [] : quotesIn(messages, before(context.debate, aside.round)).quotes), [messages]);
  const text = full?.reply?.text ?? call.text;
  return (
    <div class="aside-body">
      {call.error !== null ? <p class="retry"><Short text={call.error.message} most={400} /></p> : null}
      {text !== null ? <Said text={text} most={3_000} /> : call.error === null ? <p class="soft">Its text is not kept.</p> : null}
      <p class="soft"><Short text={call.model} />, {plural(call.input_tokens, "token")} in, {count(call.output_tokens)} out, {usd(call.usd)}</p>
      {typeof whole === "string" ? <p class="retry">{whole}</p> : null}
      {source !== undefined && !asked ? <button type="button" class="plain" onClick={() => setAsked(true)}>What it was shown</button> : null}
      {asked && full !== null ? <Prompt messages={messages} quotes={quotes} onOpen={context.onOpen} /> : null}
    </div>
  );
}

