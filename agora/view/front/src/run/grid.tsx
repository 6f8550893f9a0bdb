// The table of a debate: agents as rows, rounds as columns; only what can be seen of it is there.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Short } from "../text";
import { Entry } from "./entry";
import { placeOf, type Debate, type Turn } from "./story";
import { words, type Column, type Votes } from "./votes";

const HEAD = 34,
  ROW = 45,
  COLUMN = 130,
  WIDEST = 230; // pixels
const CHUNK = 8; // rows that come and go together, so that not every pixel draws anew

export interface GridProps {
  debate: Debate;
  votes: Votes;
  voters: number; // who fill a bar of votes
  inner: Map<string, string>; // place of a turn -> path of a debate in it
  selected: string | null; // agent
  open: string | null; // key of the turn in the reader
  onOpen: (key: string) => void;
  onSelect: (agent: string | null) => void;
  onInner: (path: string) => void;
}
type At = readonly [row: number, column: number, entry: number];

export function Grid({
  debate,
  votes,
  inner,
  selected,
  open,
  onOpen,
  onSelect,
  onInner,
  agents,
}: GridProps & { agents: readonly string[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, left: 0, high: 560, wide: 700 });
  const [active, setActive] = useState<At>([0, 0, 0]);
  const latest = useRef<At>([0, 0, 0]); // keys may come faster than cells
  const wanted = useRef(false); // the active cell is to have the focus when it is there
  const go = (to: At): void => setActive((latest.current = to));
  const { columns } = votes,
    row = ROW * votes.entries + 1;
  const longest = useMemo(() => debate.agents.reduce((most, agent) => Math.max(most, agent.length), 5), [debate.agents]);
  const names = Math.min(view.wide < 520 ? 92 : 140, Math.max(78, longest * 8.6 + 18));
  const column = Math.max(COLUMN, Math.min(WIDEST, Math.floor((view.wide - names - 2) / columns.length)));

  useLayoutEffect(() => {
    const found = box.current;
    if (found === null) return;
    const measure = (): void =>
      setView((old) => {
        const next = {
          top: Math.floor(found.scrollTop / (row * CHUNK)) * row * CHUNK,
          left: Math.floor(found.scrollLeft / column) * column,
          high: found.clientHeight,
          wide: found.clientWidth,
        };
        return next.top === old.top && next.left === old.left && next.high === old.high && next.wide === old.wide ? old : next;
      });
    measure();
    const seen = new ResizeObserver(measure);
    seen.observe(found);
    let frame = 0;
    const scrolled = (): void => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        measure();
      });
    };
    found.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      seen.disconnect();
      cancelAnimationFrame(frame);
      found.removeEventListener("scroll", scrolled);
    };
  }, [row, column]);

  // who looks at the newest round goes on doing so; who looks elsewhere is left there
  const atEnd = useRef(false);
  const found = box.current;
  if (found !== null)
    atEnd.current = found.scrollWidth > found.clientWidth + 2 && found.scrollLeft + found.clientWidth >= found.scrollWidth - 4;
  useLayoutEffect(() => {
    if (atEnd.current) box.current?.scrollTo({ left: box.current.scrollWidth });
  }, [columns.length]);

  const rowOf = useMemo(() => new Map(agents.map((agent, i) => [agent, i])), [agents]);
  const reveal = (r: number, c: number | null): void => {
    const at = box.current;
    if (at === null) return;
    const top = r * row,
      high = at.clientHeight - HEAD;
    if (top < at.scrollTop || top + row > at.scrollTop + high)
      at.scrollTop = Math.max(0, top - (top < at.scrollTop ? 0 : high - row - 4));
    if (c === null) return;
    const left = c * column,
      wide = at.clientWidth - names;
    if (left < at.scrollLeft || left + column > at.scrollLeft + wide)
      at.scrollLeft = Math.max(0, left < at.scrollLeft ? left : left - wide + column + 4);
  };
  useEffect(() => {
    if (selected !== null && rowOf.has(selected)) reveal(rowOf.get(selected)!, null);
  }, [selected]);
  useLayoutEffect(() => {
    if (!wanted.current) return;
    const to = box.current?.querySelector<HTMLElement>(`[data-at="${active.join(":")}"]`);
    if (to) {
      wanted.current = false;
      to.focus({ preventScroll: true });
    }
  });

  const firstRow = Math.max(0, Math.floor(view.top / row) - CHUNK),
    lastRow = Math.min(agents.length, Math.ceil((view.top + view.high) / row) + 2 * CHUNK);
  const firstColumn = Math.max(0, Math.floor(view.left / column) - 1),
    lastColumn = Math.min(columns.length, Math.ceil((view.left + view.wide) / column) + 2);
  const before = firstColumn * column,
    after = (columns.length - lastColumn) * column;
  const shown = columns.slice(firstColumn, lastColumn);
  // Tab comes to the active cell where it can be seen, else to the first that can
  const [r0, c0] = active,
    seen = r0 >= firstRow && r0 < lastRow && c0 >= firstColumn && c0 < lastColumn;
  const stop: At = seen ? active : [firstRow, firstColumn, 0];
  const entriesAt = (r: number, c: number): number => Math.max(1, votes.said.get(agents[r] ?? "")?.[c]?.length ?? 1);

  const move = (to: At): void => {
    const r = Math.max(0, Math.min(agents.length - 1, to[0])),
      c = Math.max(0, Math.min(columns.length - 1, to[1]));
    wanted.current = true;
    go([r, c, Math.max(0, Math.min(entriesAt(r, c) - 1, to[2]))]);
    reveal(r, c);
  };
  const keys = (event: KeyboardEvent): void => {
    if ((event.target as HTMLElement).dataset.at === undefined || event.metaKey || event.altKey) return;
    const [r, c, e] = latest.current,
      page = Math.max(1, Math.floor((view.high - HEAD) / row) - 1);
    switch (event.key) {
      case "ArrowRight":
        move([r, c + 1, e]);
        break;
      case "ArrowLeft":
        move([r, c - 1, e]);
        break;
      case "ArrowDown":
        move(e + 1 < entriesAt(r, c) ? [r, c, e + 1] : [r + 1, c, 0]);
        break;
      case "ArrowUp":
        move(e > 0 ? [r, c, e - 1] : [r - 1, c, r > 0 ? entriesAt(r - 1, c) - 1 : 0]);
        break;
      case "Home":
        move([event.ctrlKey ? 0 : r, 0, 0]);
        break;
      case "End":
        move([event.ctrlKey ? agents.length - 1 : r, columns.length - 1, 0]);
        break;
      case "PageDown":
        move([r + page, c, 0]);
        break;
      case "PageUp":
        move([r - page, c, 0]);
        break;
      default:
        return;
    }
    event.preventDefault();
  };

  const several = columns.some((one) => one.phases.length > 1);
  return (
    <div
      class="grid"
      ref={box}
      onKeyDown={keys}
      onFocusIn={(event) => {
        const at = (event.target as HTMLElement).dataset.at?.split(":").map(Number);
        if (at !== undefined && !wanted.current && at.join(":") !== latest.current.join(":")) go([at[0]!, at[1]!, at[2]!]);
      }}
    >
      <table
        role="grid"
        aria-label="What each agent said in each round"
        aria-rowcount={agents.length + 1}
        aria-colcount={columns.length + 1}
        style={{ width: `${names + columns.length * column}px` }}
      >
        <colgroup>
          <col style={{ width: `${names}px` }} />
          {before > 0 && <col style={{ width: `${before}px` }} />}
          {shown.map(({ round }) => (
            <col key={round} style={{ width: `${column}px` }} />
          ))}
          {after > 0 && <col style={{ width: `${after}px` }} />}
        </colgroup>
        <thead>
          <tr aria-rowindex={1} style={{ height: `${HEAD}px` }}>
            <th scope="col" aria-colindex={1}>
              Agent
            </th>
            {before > 0 && <td aria-hidden="true" />}
            {shown.map((one, i) => (
              <Head key={one.round} column={one} index={firstColumn + i} />
            ))}
            {after > 0 && <td aria-hidden="true" />}
          </tr>
        </thead>
        <tbody>
          {firstRow > 0 && (
            <tr aria-hidden="true" style={{ height: `${firstRow * row}px` }}>
              <td />
            </tr>
          )}
          {agents.slice(firstRow, lastRow).map((agent, i) => {
            const r = firstRow + i,
              said = votes.said.get(agent),
              now = speakingOf(debate, agent);
            return (
              <tr
                key={agent}
                aria-rowindex={r + 2}
                class={agent === selected ? "chosen" : undefined}
                style={{ height: `${row}px` }}
              >
                <th scope="row" aria-colindex={1}>
                  <button
                    type="button"
                    tabIndex={-1}
                    aria-pressed={agent === selected}
                    onClick={() => onSelect(agent === selected ? null : agent)}
                    title={agent}
                  >
                    <Short text={agent} most={60} />
                  </button>
                </th>
                {before > 0 && <td aria-hidden="true" />}
                {shown.map((one, k) => {
                  const c = firstColumn + k,
                    turns: Turn[] = said?.[c] ?? [];
                  const speaks = now?.round === one.round ? now : null,
                    here = stop[0] === r && stop[1] === c;
                  const empty = turns.length === 0;
                  return (
                    <td
                      key={one.round}
                      aria-colindex={c + 2}
                      data-at={empty ? `${r}:${c}:0` : undefined}
                      tabIndex={empty ? (here ? 0 : -1) : undefined}
                    >
                      {turns.map((turn, e) => (
                        <Entry
                          key={turn.key}
                          turn={turn}
                          votes={votes}
                          phase={several && one.phases.length > 1}
                          open={turn.key === open}
                          onOpen={onOpen}
                          at={`${r}:${c}:${e}`}
                          stop={here && Math.min(stop[2], turns.length - 1) === e}
                          inner={inner.get(placeOf(debate.path, turn.agent, turn.round, turn.phase)) ?? null}
                          onInner={onInner}
                        />
                      ))}
                      {speaks !== null && (
                        <span class="now">
                          <span class="soft">{turns.length > 0 || one.phases.length > 1 ? `${speaks.phase}: ` : ""}</span>
                          {speaks.waits !== null ? (
                            "waits"
                          ) : speaks.wrote === "" ? (
                            "speaks"
                          ) : (
                            <Short text={speaks.wrote.slice(-40)} most={40} />
                          )}
                        </span>
                      )}
                    </td>
                  );
                })}
                {after > 0 && <td aria-hidden="true" />}
              </tr>
            );
          })}
          {lastRow < agents.length && (
            <tr aria-hidden="true" style={{ height: `${(agents.length - lastRow) * row}px` }}>
              <td />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

function Head({ column, index }: { column: Column; index: number }) {
  return (
    <th scope="col" aria-colindex={index + 2} title={words(column)}>
      Round {column.round}
      {column.stop !== null && <span class="soft">, the last</span>}
    </th>
  );
}

function speakingOf(debate: Debate, agent: string) {
  for (const speaking of debate.speaking.values()) if (speaking.agent === agent) return speaking;
  return null;
}
