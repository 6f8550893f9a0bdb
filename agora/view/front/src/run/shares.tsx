// How the votes were shared among the answers, round by round, and what the verdict weighed.

import { useMemo } from "preact/hooks";
import { Chip } from "./chip";
import type { VerdictData } from "../records";
import { bar, leading, words, type Share, type Votes } from "./votes";
import "./shares.css";

const HIGH = 72,
  WIDE = 600,
  LAST = 44;

export function Shares({ votes, voters, verdict }: { votes: Votes; voters: number; verdict: VerdictData | null }) {
  const voted = votes.columns.filter((column) => column.votes.size > 0 || column.none > 0 || column.absent > 0);
  const support = Object.entries(verdict?.support ?? {}).filter(([, weight]) => weight > 0);
  const shown = useMemo(() => leading(votes, verdict?.support), [votes, verdict]);
  if (voted.length === 0) return null;
  const room = WIDE - (support.length > 0 ? LAST + 16 : 0),
    step = Math.min(64, room / voted.length);
  const used = step * voted.length,
    wide = used + (support.length > 0 ? 16 + LAST : 0),
    gap = step > 12 ? 3 : step > 5 ? 1 : 0;
  const total = support.reduce((sum, [, weight]) => sum + weight, 0);
  const last = voted.at(-1)!,
    first = voted[0]!;
  const text =
    `Share of votes by round. Round ${first.round}: ${words(first)}.` +
    (last === first ? "" : ` Round ${last.round}: ${words(last)}.`) +
    (support.length > 0
      ? ` Weight in the verdict: ${support
          .slice(0, 4)
          .map(([answer, weight]) => `${answer.slice(0, 40)} ${round(weight)}`)
          .join(", ")}.`
      : "");
  const rest = [...last.votes].reduce((sum, [answer, n]) => sum + (shown.includes(answer) ? 0 : n), 0);
  const others = new Set(voted.flatMap(({ votes: counted }) => [...counted.keys()].filter((answer) => !shown.includes(answer))))
    .size;
  return (
    <div class="shares">
      <svg viewBox={`0 0 ${wide} ${HIGH + 16}`} width={wide} height={HIGH + 16} role="img" aria-label={text}>
        {voted.map((column, i) => (
          <g key={column.round} transform={`translate(${(i * step).toFixed(2)} 0)`}>
            <Bar shares={bar(column.votes, shown)} of={Math.max(voters, 1)} wide={step - gap} votes={votes} />
            {(step > 18 || i % Math.ceil(22 / step) === 0) && (
              <text x={(step - gap) / 2} y={HIGH + 13} text-anchor="middle">
                {column.round}
              </text>
            )}
          </g>
        ))}
        {support.length > 0 && (
          <g transform={`translate(${used + 16} 0)`}>
            <path class="rule" d={`M-9 0V${HIGH}`} />
            <Bar shares={bar(support, shown)} of={total} wide={LAST} votes={votes} />
            <text x={LAST / 2} y={HIGH + 13} text-anchor="middle">
              weight
            </text>
          </g>
        )}
      </svg>
      <ul class="legend" aria-label="Votes in the last round">
        {shown.map((answer) => (
          <li key={answer}>
            <Chip answer={answer} why={null} marks={votes.marks} /> <span class="soft">{last.votes.get(answer) ?? 0}</span>
          </li>
        ))}
        {others > 0 && (
          <li class="soft">
            <span class="swatch" aria-hidden="true" /> {others} other {others === 1 ? "answer" : "answers"} {rest}
          </li>
        )}
        {last.none > 0 && <li class="soft">no answer {last.none}</li>}
        {last.absent > 0 && <li class="soft">absent {last.absent}</li>}
      </ul>
    </div>
  );
}

const round = (weight: number): string => String(Math.round(weight * 100) / 100);

function Bar({ shares, of, wide, votes }: { shares: Share[]; of: number; wide: number; votes: Votes }) {
  let y = HIGH;
  return (
    <>
      <rect class="room" width={wide} height={HIGH} />
      {shares.map(({ answer, weight }) => {
        const high = (HIGH * weight) / of,
          mark = answer === null ? undefined : votes.marks.get(answer);
        y -= high;
        return (
          <g key={answer ?? ""} class={mark === undefined ? "others" : `a${mark.index % 8}`}>
            <rect y={y.toFixed(2)} width={wide.toFixed(2)} height={Math.max(0, high - 0.8).toFixed(2)} />
            {mark !== undefined && wide > 12 && high > 12 && (
              <text x={wide / 2} y={y + high / 2 + 3.5} text-anchor="middle">
                {mark.sign}
              </text>
            )}
          </g>
        );
      })}
    </>
  );
}
