// The places of people in a run that goes on: what they are asked, and a form to answer.

import { useEffect, useRef, useState } from "preact/hooks";
import { count, plural } from "./format";
import type { SeatRecord } from "./records";
import type { Story } from "./run/story";
import { ask } from "./source";
import { Said, Short } from "./text";
import { left, useNow } from "./time";
import { markTitle } from "./title";
import "./seat.css";

const LONGEST = 100_000; // characters of one reply

export function Seats({ story, run }: { story: Story; run: string }) {
  const [sent, setSent] = useState<ReadonlySet<string>>(new Set());
  const [said, setSaid] = useState(""); // to who listens to the page
  const told = useRef(new Set<string>());
  const open = [...story.seats.values()];
  const waiting = open.filter((seat) => !sent.has(seat.id));

  useEffect(() => markTitle(waiting.length > 0)); // each time, as others set the title, too
  useEffect(() => () => markTitle(false), []);
  useEffect(() => {
    const fresh = waiting.filter((seat) => !told.current.has(seat.id));
    if (fresh.length === 0) return;
    for (const seat of fresh) told.current.add(seat.id);
    // a region is read out when it changes, not when it comes up
    const timer = setTimeout(() => setSaid(`It is your turn, ${fresh.map((seat) => seat.name).join(", ")}.`), 150);
    return () => clearTimeout(timer);
  }, [waiting.map((seat) => seat.id).join(" ")]);

  return (
    <div class="seats">
      <p class="hidden" role="status">{said}</p>
      {open.map((seat) => (
        <Seat
          key={seat.id} seat={seat} run={run} sent={sent.has(seat.id)} first={seat === waiting[0]}
          onSent={() => {
            setSent((ids) => new Set([...ids, seat.id]));
            setSaid("Sent.");
          }}
          onHint={setSaid}
        />
      ))}
    </div>
  );
}

interface SeatProps { seat: SeatRecord; run: string; sent: boolean; first: boolean; onSent(): void; onHint(text: string): void }

function Seat({ seat, run, sent, first, onSent, onHint }: SeatProps) {
  const [text, setText] = useDraft(`agora-seat:${run}:${seat.id}`);
  const [sending, setSending] = useState(false);
  const [wrong, setWrong] = useState<string | null>(null);
  const [sure, setSure] = useState(false); // that what is written may be dropped
  const box = useRef<HTMLTextAreaElement>(null);
  const place = placeOf(seat.path);

  useEffect(() => {
    if (first && mayFocus()) box.current?.focus();
  }, []);
  const send = async (words: string) => {
    if (sending || sent) return;
    setSending(true);
    setWrong(null);
    try {
      await ask(`/api/runs/${encodeURIComponent(run)}/seats/${encodeURIComponent(seat.id)}`, { text: words });
      setText(null);
      onSent();
    } catch (error) {
      setWrong((error as Error).message);
    } finally {
      setSending(false);
      setSure(false);
    }
  };
  if (sent) return <p class="notice" role="note">Your answer as <Short text={seat.name} /> is sent. The debate goes on.</p>;
  const blank = text.trim() === "";
  return (
    <section class="card seat" aria-label={`Your turn as ${seat.name}`}>
      <header>
        <h2>Your turn: you are <Short text={seat.name} /></h2>
        {place === null ? null : <span class="soft">{place.agent === seat.name ? null : <><Short text={place.agent} />, </>}round {place.round}, <Short text={place.phase} /></span>}
        {seat.until === null ? null : <Countdown until={seat.until} onHint={onHint} />}
      </header>
      <div class="asked" tabIndex={0} role="region" aria-label={`What ${seat.name} is asked, exactly as a model would see it`}>
        {seat.prompt.map(([role, content], i) => (
          role === "system" ? (
            <details key={i}><summary>{role}</summary><Said text={content} most={4_000} /></details>
          ) : (
            <div key={i}><p class="small soft role">{role}</p><Said text={content} most={12_000} /></div>
          )
        ))}
      </div>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!blank) void send(text);
        }}
      >
        <label class="field">
          <span>Your answer</span>
          <textarea
            ref={box} rows={4} value={text} maxLength={LONGEST} dir="auto"
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
              event.preventDefault();
              if (!blank) void send(text);
            }}
          />
        </label>
        {wrong === null ? null : <p class="notice wrong" role="alert"><strong>Not sent.</strong> {wrong} What you wrote is still here.</p>}
        <div class="row">
          <button type="submit" class="primary" disabled={blank || sending}>{sending ? "Sending…" : "Send"}</button>
          <button type="button" disabled={sending} onClick={() => (blank || sure ? void send("") : setSure(true))} onBlur={() => setSure(false)}>
            {sure ? "Abstain, and drop what is written?" : "Abstain"}
          </button>
          <span class="small soft"><span class="keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> sends</span>{text.length > LONGEST * 0.9 ? ` ${plural(LONGEST - text.length, "character")} of ${count(LONGEST)} are left` : ""}</span>
        </div>
      </form>
    </section>
  );
}

function Countdown({ until, onHint }: { until: number; onHint(text: string): void }) {
  const at = useNow(1);
  const rest = until - at;
  const stage = rest <= 0 ? 0 : rest <= 10 ? 1 : rest <= 60 ? 2 : 3;
  useEffect(() => {
    if (stage === 2) onHint("Less than a minute is left.");
    if (stage === 1) onHint("Less than ten seconds are left.");
    if (stage === 0) onHint("The time is over: it counts as an abstention.");
  }, [stage]);
  if (stage === 0) return <span class="clock late">The time is over: it counts as an abstention</span>;
  return <span class={stage < 3 ? "clock late" : "clock"} role="timer">{left(until, at)} left</span>;
}

// What is written, kept by the browser through all that may happen to the page; null forgets it.
function useDraft(key: string): [string, (text: string | null) => void] {
  const [text, setText] = useState(() => {
    try {
      return sessionStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  });
  return [text, (now) => {
    setText(now ?? "");
    try {
      if (now === null || now === "") sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, now);
    } catch {
      // it is kept as long as the page is there
    }
  }];
}

// Whether the focus may come here: not from where somebody types or picks, nor out of a dialog.
function mayFocus(): boolean {
  const at = document.activeElement as HTMLElement | null;
  if (at === null || at === document.body) return true;
  if (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return false;
  return at.closest("dialog, [role=dialog]") === null;
}

// Where in a debate a call is: the end of its path.
export function placeOf(path: string): { agent: string; round: number; phase: string } | null {
  const found = /(?:^|\/)([^/]+)\/(\d+)\/([^/]+)$/.exec(path);
  return found === null ? null : { agent: found[1]!, round: Number(found[2]), phase: found[3]! };
}
