// What is being read just now, for the picture of the graph: by events that have come since it was last drawn.

import { useMemo, useRef } from "preact/hooks";
import type { Reading } from "./dots";
import { keyOf, type Debate, type Story } from "./story";

const RECENT = 64; // events: after a longer jump nothing moves
const BACK = 400; // events in which the last turn is looked for

export function useReading(shown: Story, newest: Debate, debate: Debate, moving: boolean): { readings: Reading[]; strong: Reading | null } {
  const last = useRef({ count: shown.events.length, path: debate.path });
  const count = shown.events.length;
  return useMemo(() => {
    const { count: before, path } = last.current;
    last.current = { count, path: debate.path };
    const order = new Map(debate.agents.map((agent, i) => [agent, i]));
    const readings: Reading[] = [];
    let strong: Reading | null = null;
    if (path === debate.path && count > before && count - before <= RECENT)
      for (let k = before; k < count; k++) {
        const found = reading(shown, k, newest, debate, order);
        if (found !== null && found.read.length > 0 && shown.events[k]?.kind === "speaking") readings.push(found);
      }
    for (let k = count - 1; moving && strong === null && k >= Math.max(0, count - BACK); k--) {
      const found = reading(shown, k, newest, debate, order);
      if (found !== null) strong = found;
      else if (shown.events[k]?.path === debate.path && shown.events[k]?.kind === "decided") break;
    }
    return { readings, strong };
  }, [count, debate.path, moving, debate.agents]);
}

// Told again, what a turn had read is known when it begins; live it is known when it is over, and until then those whom the
// graph lets it read and who have said something stand for them.
function reading(shown: Story, k: number, newest: Debate, debate: Debate, order: Map<string, number>): Reading | null {
  const event = shown.events[k];
  if (event === undefined || event.path !== debate.path || (event.kind !== "speaking" && event.kind !== "spoke")) return null;
  const { agent, round, phase } = event.data, reader = order.get(agent);
  if (reader === undefined) return null;
  const turn = newest.byKey.get(keyOf(agent, round, phase));
  let read: number[];
  if (turn !== undefined) read = turn.reads.map((key) => order.get(newest.byKey.get(key)?.agent ?? "") ?? -1);
  else {
    const spoken = new Set(debate.turns.map((said) => order.get(said.agent)));
    read = debate.edges.filter(([u, v]) => v === reader && spoken.has(u)).map(([u]) => u);
  }
  return { id: event.id, reader, read: [...new Set(read)].filter((u) => u >= 0 && u !== reader) };
}
