// A prompt as it was sent, message by message; in the gutter who said what stands there.

import { useMemo } from "preact/hooks";
import { plainly } from "../odd";
import { Copy, Hidden, Said, Short } from "../text";
import { count } from "./say";
import { partsOf, type Quote } from "./quotes";
import "./prompt.css";

const MOST = 6_000; // characters of a part at first

export function Prompt(props: { messages: [string, string][] | null; quotes: readonly Quote[]; onOpen?: (key: string) => void }) {
  const { messages, quotes, onOpen } = props;
  const by = useMemo(() => messages?.map((_, i) => quotes.filter((quote) => quote.message === i)) ?? [], [messages, quotes]);
  if (messages === null) return <p class="soft">What it was shown is not kept.</p>;
  if (messages.length === 0) return <p class="soft">It was sent no messages.</p>;
  return (
    <div class="prompt">
      {messages.map(([role, content], i) => (
        <section key={i} class="sent" aria-label={`Message ${i + 1}, ${role}`}>
          <h4><Short text={role} most={30} /> <span class="soft">{count(content.length)} characters</span> <Copy text={content} /></h4>
          <Content content={content} quotes={by[i]!} gutter={quotes.length > 0} onOpen={onOpen} />
        </section>
      ))}
    </div>
  );
}

function Content(props: { content: string; quotes: readonly Quote[]; gutter: boolean; onOpen: ((key: string) => void) | undefined }) {
  const { content, quotes, gutter, onOpen } = props;
  const parts = useMemo(() => partsOf(content, quotes), [content, quotes]);
  if (content === "") return <p class="soft">An empty message.</p>;
  return (
    <>
      {parts.map((part) => (
        <div key={part.start} class={part.quotes.length > 0 ? `part quoted${part.quotes.every((quote) => quote.own) ? " own" : ""}` : gutter ? "part" : "part alone"}>
          {part.quotes.length > 0 ? (
            <div class="gutter">{part.quotes.map((quote) => <By key={quote.start} quote={quote} onOpen={onOpen} />)}</div>
          ) : null}
          <Said text={content.slice(part.start, part.end)} most={MOST} />
        </div>
      ))}
    </>
  );
}

function By({ quote, onOpen }: { quote: Quote; onOpen: ((key: string) => void) | undefined }) {
  const { turn } = quote;
  const name = quote.own ? "itself" : turn.agent, given = quote.label !== null && quote.label !== turn.agent && !quote.own;
  return (
    <p title={`round ${turn.round}, ${plainly(turn.phase)}`}>
      {onOpen === undefined ? <b><Short text={name} most={24} /></b> : (
        <button type="button" class="by" onClick={() => onOpen(turn.key)}><Short text={name} most={24} /><Hidden>: open round {turn.round}</Hidden></button>
      )}<span class="soft">, round {turn.round}</span>
      <span class="soft how">{quote.how}{given ? <>, as “<Short text={quote.label!} most={30} />”</> : null}</span>
    </p>
  );
}
