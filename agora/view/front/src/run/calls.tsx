// The calls of a run that is no debate, or has not become one: a router that was served, a debate that failed at once.

import { Said, Short } from "../text";
import { duration } from "./head";
import type { CallRecord } from "../records";
import "./calls.css";

const MOST = 500;

export function Calls({ calls }: { calls: readonly CallRecord[] }) {
  return (
    <section class="calls">
      <h2>{calls.length === 1 ? "One call" : `${calls.length.toLocaleString("en")} calls`}</h2>
      {calls.length > MOST && <p class="soft">The first {MOST} are shown.</p>}
      <ol>
        {calls.slice(0, MOST).map((call) => (
          <li key={call.id}>
            <p>
              <b>
                <Short text={call.model} />
              </b>{" "}
              <span class="soft">
                <Short text={call.path} /> · {duration(call.seconds)} · {call.input_tokens} tokens in, {call.output_tokens} out ·{" "}
                {call.usd === null ? "cost unknown" : `$${call.usd.toPrecision(2)}`}
              </span>
              {call.route !== null && (
                <span>
                  {" "}
                  · <Short text={call.route[0]} /> answered: <Short text={call.route[1]} most={200} />
                </span>
              )}
            </p>
            {call.error !== null ? (
              <p class="failed">
                It failed: <Short text={call.error.message} most={400} />
              </p>
            ) : call.text === null ? (
              <p class="soft">Its text is not kept.</p>
            ) : (
              <div class="reply">
                <Said text={call.text} most={1_500} />
              </div>
            )}
          </li>
        ))}
      </ol>
    </section>
  );
}
