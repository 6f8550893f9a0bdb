// Text that a model, or anyone else, wrote: shown as it is, never as anything but text.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { cutAt, type Piece, piecesOf, plainly } from "./odd";
import "./text.css";

const STEP = 20_000; // characters that one press shows more

// Characters, where what does not show itself is a small label.
export function Plain({ text }: { text: string }) {
  return useMemo(() => <>{piecesOf(text).map(pieceOf)}</>, [text]); // the same nodes again are not compared again
}

const pieceOf = (piece: Piece, i: number) =>
  typeof piece === "string" ? piece : (
    <span key={i} class="odd" title={piece.name}>{piece.label}{piece.times > 1 ? `×${piece.times}` : ""}</span>
  );

// What is said to those who listen, where the eye has it from its place.
export const Hidden = ({ children }: { children: ComponentChildren }) => <span class="sr">{children}</span>;

// A name or an answer within a line; what is longer than `most` is cut, and whole in its title.
export function Short({ text, most = 80 }: { text: string; most?: number }) {
  const line = text.length > most ? text.slice(0, cutAt(text, most - 1)) : text;
  const cut = line.length < text.length;
  return (
    <bdi class="short" title={cut ? plainly(text.slice(0, 2_000)) : undefined}>
      <Plain text={line.replaceAll("\n", " ")} />{cut ? "…" : ""}
    </bdi>
  );
}

// Whole messages. No more than `most` characters are shown until somebody asks for more.
export function Said(props: { text: string; most?: number; class?: string }) {
  const { text, most = STEP } = props;
  const [more, setMore] = useState(0);
  const ends: number[] = [];
  for (let end = 0, step = 0; end < text.length && step <= more; step++) {
    end = cutAt(text, end + (step === 0 ? most : STEP));
    ends.push(end);
  }
  const shown = ends.at(-1) ?? 0, left = text.length - shown;
  return (
    <div class={`said ${props.class ?? ""}`}>
      {text === "" ? <p class="empty">Nothing: an empty text.</p> : (
        <div class="words" dir="auto">
          {ends.map((end, i) => <Plain key={i} text={text.slice(ends[i - 1] ?? 0, end)} />)}
          {left > 0 ? "…" : ""}
        </div>
      )}
      {left > 0 || text.length > most ? (
        <p class="said-more">
          {left > 0 ? (
            <button type="button" onClick={() => setMore(more + 1)}>
              Show {Math.min(STEP, left).toLocaleString("en")} more
            </button>
          ) : null}
          <Copy text={text} />
          <span>{left > 0 ? `${shown.toLocaleString("en")} of ` : ""}{text.length.toLocaleString("en")} characters</span>
        </p>
      ) : null}
    </div>
  );
}

// A button that copies a text as it was written.
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    const worked = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    setDone(worked ? "Copied" : "The browser does not allow it");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(null), 2_000);
  };
  return <button type="button" onClick={copy}><span aria-live="polite">{done ?? label}</span></button>;
}
