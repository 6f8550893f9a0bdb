// The bar that tells a run again: play, step, a slider over its events with marks where rounds begin.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { EventRecord } from "../records";
import "./replay.css";

const SPEEDS = [
  [2, "slow"],
  [8, "calm"],
  [40, "fast"],
  [200, "very fast"],
] as const; // events a second

interface Props {
  events: readonly EventRecord[];
  path: string; // of the debate that is shown
  at: number | null; // events told; null: all, also those to come
  live: boolean;
  onMove: (at: number | null) => void;
}

// What an event says, in few words.
export function said(event: EventRecord | undefined): string {
  if (event === undefined) return "before it began";
  const within = event.path === "" ? "" : "within a turn: ";
  switch (event.kind) {
    case "started":
      return `${within}it begins`;
    case "speaking":
      return `${within}${event.data.agent} is asked, round ${event.data.round}`;
    case "spoke":
      return `${within}${event.data.agent} ${event.data.error !== undefined ? "is absent" : "has spoken"}, round ${event.data.round}`;
    case "round":
      return `${within}round ${event.data.round} is over`;
    case "decided":
      return `${within}decided`;
    case "retrying":
      return `${within}${event.data.agent ?? "the moderator"} waits, to try again`;
    default:
      return `${within}it is chosen what is read`;
  }
}

export function Replay({ events, path, at, live, onMove }: Props) {
  const most = events.length,
    now = at ?? most;
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(() => SPEEDS.find(([rate]) => most / rate < 60)?.[0] ?? 200);
  const marks = useMemo(() => {
    const found: { round: number; at: number }[] = [];
    events.forEach((event, k) => {
      if (event.path !== path || (event.kind !== "speaking" && event.kind !== "spoke")) return;
      if (event.data.round > (found.at(-1)?.round ?? -1)) found.push({ round: event.data.round, at: k });
    });
    return found;
  }, [most, path]);

  const move = (to: number): void => onMove(to >= most ? null : Math.max(0, to));
  const latest = useRef({ now, most, move });
  latest.current = { now, most, move };
  useEffect(() => {
    if (!playing) return;
    let frame = 0,
      before = performance.now(),
      due = 0;
    const tick = (time: number): void => {
      due += ((time - before) / 1000) * speed;
      before = time;
      const whole = Math.floor(due),
        { now: k, most: end, move: go } = latest.current;
      if (whole > 0) {
        due -= whole;
        go(k + whole);
        if (k + whole >= end) return setPlaying(false);
      }
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing, speed]);

  const toggle = (): void => {
    if (!playing && now >= most) onMove(0);
    setPlaying(!playing);
  };
  const step = (by: number): void => {
    setPlaying(false);
    move(now + by);
  };
  const keys = (event: KeyboardEvent): void => {
    const on = event.target as HTMLElement,
      slider = on instanceof HTMLInputElement;
    if (on instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      if (!slider) return; // a button is pressed by it
      toggle();
    } else if (slider)
      return; // it has arrows, Home and End of its own
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "Home") step(-most);
    else if (event.key === "End") step(most);
    else return;
    event.preventDefault();
  };
  const text = said(events[now - 1]);
  const place = (k: number): string =>
    `calc(8px + ${((k / Math.max(1, most)) * 100).toFixed(3)}% - ${((k / Math.max(1, most)) * 16).toFixed(2)}px)`;
  const labelled = Math.ceil(marks.length / 14);
  return (
    <div class="replay" role="group" aria-label="Replay" onKeyDown={keys}>
      <button
        type="button"
        class="play"
        onClick={toggle}
        aria-label={playing ? "Pause" : "Play"}
        title={playing ? "Pause" : "Play"}
      >
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d={playing ? "M2 1h3v10H2zM7 1h3v10H7z" : "M2 1l9 5-9 5z"} />
        </svg>
      </button>
      <button type="button" onClick={() => step(-1)} disabled={now === 0} aria-label="One event back" title="One event back">
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d="M8 2v8L2.5 6zM9 2h1.4v8H9z" />
        </svg>
      </button>
      <button type="button" onClick={() => step(1)} disabled={now >= most} aria-label="One event on" title="One event on">
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d="M4 2v8l5.5-4zM1.6 2H3v8H1.6z" />
        </svg>
      </button>
      <div class="track">
        <input
          type="range"
          min={0}
          max={most}
          step={1}
          value={now}
          aria-label="Events of the run"
          aria-valuetext={`${now} of ${most}: ${text}`}
          onInput={(event) => {
            setPlaying(false);
            move(Number(event.currentTarget.value));
          }}
        />
        <div class="marks" aria-hidden="true">
          {marks.map(({ round, at: k }, i) => (
            <span key={round} style={{ left: place(k) }}>
              {i % labelled === 0 ? round : ""}
            </span>
          ))}
        </div>
      </div>
      <span class="where">
        <bdi>{text}</bdi>{" "}
        <span class="soft">
          {now}/{most}
        </span>
      </span>
      <label class="soft">
        Speed{" "}
        <select value={String(speed)} onChange={(event) => setSpeed(Number(event.currentTarget.value) as typeof speed)}>
          {SPEEDS.map(([rate, name]) => (
            <option key={rate} value={String(rate)}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <button
        type="button"
        disabled={at === null}
        onClick={() => {
          setPlaying(false);
          onMove(null);
        }}
      >
        {live ? "Live" : "To the end"}
      </button>
    </div>
  );
}
