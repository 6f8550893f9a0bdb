// The tokens of a reply, each as sure as the model was of it; for fused models also where the members disagree.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { FullReply } from "../records";
import { Plain, Short } from "../text";
import { count, percent } from "./say";
import { apart, APART, spelled, type Tok, tokensOf, unsure, UNSURE } from "./tokens";
import "./heat.css";

type Kind = "probability" | "disagreement" | "member";
const LINES = ["solid", "dashed", "dotted", "double", "wavy"];
const STEP = 5_000; // tokens on the page at once

export function Heat({ reply }: { reply: FullReply }) {
  const tokens = useMemo(() => tokensOf(reply.tokens ?? []), [reply]);
  const members = useMemo(() => [...new Set(tokens.flatMap((token) => token.by.map(([name]) => name)))], [tokens]);
  const [kind, setKind] = useState<Kind>("probability");
  const [at, setAt] = useState<number | null>(null);
  const [shown, setShown] = useState(STEP);
  const box = useRef<HTMLDivElement>(null);
  const spans = useMemo(() => tokens.slice(0, shown).map((token, i) => (
    <span key={i} data-i={i} class={lookOf(token, kind)}><Plain text={token.shown} /></span>
  )), [tokens, kind, shown]);
  useEffect(() => {
    const element = at === null ? null : box.current?.children[at];
    element?.classList.add("at");
    return () => element?.classList.remove("at");
  }, [at, kind, shown]);
  if (tokens.length === 0) return null;

  const go = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = Math.min(shown, tokens.length) - 1, now = at ?? -1;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key] ?? line(box.current, now, event.key);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    const next = Math.max(0, Math.min(last, to));
    setAt(next);
    box.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  const under = (event: Event) => {
    const found = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-i]") : null;
    if (found !== null) setAt(Number(found.dataset["i"]));
  };
  const least = tokens.reduce((low, token) => Math.min(low, token.p), 1);
  return (
    <section class="heat" aria-label="Tokens">
      {members.length > 1 ? (
        <fieldset>
          <legend>Shade by</legend>
          {(["probability", "disagreement", "member"] as const).map((one) => (
            <label key={one}><input type="radio" checked={kind === one} onChange={() => setKind(one)} /> {one === "member" ? "who liked it most" : one}</label>
          ))}
        </fieldset>
      ) : null}
      <Legend kind={kind} members={members} />
      <div
        ref={box} class="tokens" tabIndex={0} role="group" onKeyDown={go} onPointerOver={under} onClick={under}
        onFocus={() => setAt((now) => now ?? 0)}
        aria-label={`${tokens.length} tokens, the least likely at ${percent(least)}. Arrow keys move from token to token.`}
      >{spans}</div>
      {tokens.length > shown ? <button type="button" onClick={() => setShown(shown + STEP)}>Show {count(Math.min(STEP, tokens.length - shown))} more tokens</button> : null}
      <div class="token-line" role="status">{at === null || tokens[at] === undefined
        ? <span class="soft">Point at a token, or move with the arrow keys.</span> : <Detail token={tokens[at]} n={at} of={tokens.length} />}</div>
    </section>
  );
}

function lookOf(token: Tok, kind: Kind): string {
  if (kind === "probability") return `tok u${unsure(token.p)}`;
  if (kind === "disagreement") return `tok u${apart(token.disagreement)}`;
  return token.liked === null ? "tok" : `tok m${token.liked % 8} ${LINES[token.liked % LINES.length]}`;
}

// The token in the line above or below that is nearest; null where the key is another, or there is none.
function line(box: HTMLElement | null, now: number, key: string): number | null {
  const step = key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
  const here = box?.children[now]?.getClientRects()[0];
  if (box === null || step === 0 || here === undefined) return null;
  let best: number | null = null, off = Infinity, row: number | null = null;
  for (let i = now + step; i >= 0 && i < box.children.length; i += step) {
    const rect = box.children[i]!.getClientRects()[0];
    if (rect === undefined || Math.abs(rect.top - here.top) < here.height / 2) continue;
    row ??= rect.top;
    if (Math.abs(rect.top - row) > here.height / 2) break;
    const distance = Math.abs(rect.left - here.left);
    if (distance < off) [best, off] = [i, distance];
  }
  return best;
}

function Legend({ kind, members }: { kind: Kind; members: string[] }) {
  if (kind === "member")
    return (
      <p class="heat-legend">{members.map((name, i) => <span key={name}><span class={`tok m${i % 8} ${LINES[i % LINES.length]}`}>abc</span> <Short text={name} most={40} /></span>)}
        <span>unmarked: alike</span></p>
    );
  const edges = kind === "probability"
    ? [`from ${percent(UNSURE[0]!)}`, ...UNSURE.map((edge) => `below ${percent(edge)}`)]
    : [`below ${APART[0]}`, ...APART.map((edge) => `from ${edge}`)];
  return (
    <p class="heat-legend">{edges.map((text, i) => <span key={i}><span class={`tok u${i}`}>abc</span> {text}</span>)}
      {kind === "disagreement" ? <span>0: all members agree, 1: as far apart as can be</span> : null}</p>
  );
}

const Named = ({ of }: { of: [string, number][] }) => (
  <>{of.map(([text, p], i) => <span key={i}>{i > 0 ? ", " : ""}<code><Short text={spelled(text)} most={40} /></code> {percent(p)}</span>)}</>
);

function Detail({ token, n, of }: { token: Tok; n: number; of: number }) {
  const others = token.top.filter(([text]) => text !== token.text);
  return (
    <>
      <span><code class="is"><Short text={spelled(token.text)} most={60} /></code> <b>{percent(token.p)}</b> <span class="soft">token {n + 1} of {of}</span></span>
      {others.length > 0 ? <span><span class="soft">others:</span> <Named of={others} /></span> : null}
      {token.by.length > 0 ? (
        <span><span class="soft">by member:</span> {token.by.map(([name, p], i) => <span key={name}>{i > 0 ? ", " : ""}<Short text={name} most={40} /> {percent(p)}</span>)}</span>
      ) : null}
      {token.disagreement !== null ? <span><span class="soft">disagreement</span> {token.disagreement.toFixed(2)}</span> : null}
    </>
  );
}
