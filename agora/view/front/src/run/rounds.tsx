// Who said what when: the shares of votes, and under them the table, its rows in one order or another.

import { useMemo, useState } from "preact/hooks";
import { Grid, type GridProps } from "./grid";
import { Shares } from "./shares";
import { verdictOf } from "./story";
import "./rounds.css";

export function Rounds(props: GridProps) {
  const { debate, votes } = props;
  const [order, setOrder] = useState<"debate" | "answer">("debate");
  const agents = useMemo(() => {
    if (order === "debate") return debate.agents;
    const count = new Map<string, number>();
    for (const { turn } of votes.now.values())
      if (turn?.answer != null) count.set(turn.answer, (count.get(turn.answer) ?? 0) + 1);
    const rank = (agent: string): [number, number] => {
      const answer = votes.now.get(agent)?.turn?.answer ?? null;
      return answer === null ? [1, Infinity] : [-(count.get(answer) ?? 0), votes.marks.get(answer)?.index ?? 0];
    };
    const ranks = new Map(debate.agents.map((agent) => [agent, rank(agent)]));
    return [...debate.agents].sort((a, b) => ranks.get(a)![0] - ranks.get(b)![0] || ranks.get(a)![1] - ranks.get(b)![1] || 0);
  }, [order, debate.agents, order === "answer" ? votes : null]);
  return (
    <section class="rounds" aria-label="Rounds">
      <div class="caption">
        <h2>Who said what</h2>
        {debate.agents.length > 2 && (
          <label class="soft">
            Rows{" "}
            <select value={order} onChange={(event) => setOrder(event.currentTarget.value as "debate" | "answer")}>
              <option value="debate">as in the debate</option>
              <option value="answer">by last answer</option>
            </select>
          </label>
        )}
      </div>
      <Shares votes={votes} voters={props.voters} verdict={verdictOf(debate)} />
      {votes.columns.length === 0 ? (
        <p class="empty">Nobody has spoken yet.</p>
      ) : (
        <Grid {...props} agents={agents} key={debate.path} />
      )}
    </section>
  );
}
