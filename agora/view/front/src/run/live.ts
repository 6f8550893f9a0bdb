// A run's story as it is told: read once, then followed as long as it goes on, no faster than it can be drawn.

import { useEffect, useRef, useState } from "preact/hooks";
import type { AnyRecord } from "../records";
import type { Source } from "../source";
import { Story } from "./story";

export interface Told {
  story: Story | null; // as it stands; another object whenever there is more
  whole: Story | null; // the same one all the time: for `until`
  error: string | null;
  following: boolean;
  again: () => void; // read it anew: it goes on
}

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export function useStory(source: Source): Told {
  const [told, setTold] = useState<Omit<Told, "again">>({ story: null, whole: null, error: null, following: false });
  const [times, setTimes] = useState(0);
  const from = useRef(source); // a run's source is the same for as long as its page is there
  useEffect(() => {
    let left = false, frame = 0, close: (() => void) | undefined;
    let waiting: AnyRecord[] = [];
    const whole = new Story();
    const show = (): void => {
      frame = 0;
      if (left) return;
      whole.add(waiting);
      waiting = [];
      setTold((old) => ({ ...old, story: whole.snapshot() }));
    };
    const take = (records: AnyRecord[]): void => {
      waiting.push(...records);
      // a page in the background has no frames; it catches up when it is looked at
      frame ||= requestAnimationFrame(show);
    };
    const load = async (): Promise<void> => {
      const { records, cursor } = await from.current.load();
      if (left) return;
      whole.add(records);
      const goes = from.current.follow !== undefined && whole.run?.status === "running";
      setTold({ story: whole.snapshot(), whole, error: null, following: goes });
      if (!goes) return;
      close = from.current.follow?.(cursor, take, (run) => {
        if (run !== null) take([run]);
        void ended();
      });
    };
    const ended = async (): Promise<void> => {
      whole.add(waiting);
      waiting = [];
      if (whole.run?.status === "running") {
        // how it ended has not been told
        const { records } = await from.current.load();
        whole.add(records);
      }
      if (!left) setTold({ story: whole.snapshot(), whole, error: null, following: false });
    };
    load().catch((error: unknown) => { if (!left) setTold((old) => ({ ...old, error: sentence(error), following: false })); });
    return () => {
      left = true;
      cancelAnimationFrame(frame);
      close?.();
    };
  }, [times]);
  return { ...told, again: () => setTimes((n) => n + 1) };
}
