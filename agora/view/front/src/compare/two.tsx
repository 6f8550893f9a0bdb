// A table that sets two runs side by side: a row for each fact, what it says of both where that is a figure or differs.

import type { ComponentChildren } from "preact";
import { Short } from "../text";

export interface Fact { label: string; a: ComponentChildren; b: ComponentChildren; note?: string | null; differs?: boolean }

export function Two({ label, facts, noted = false }: { label: string; facts: Fact[]; noted?: boolean }) {
  return (
    <table class="table two" role="table" aria-label={label}>
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col"><span class="hidden">What</span></th>
          <th role="columnheader" scope="col" class="a">Run 1</th>
          <th role="columnheader" scope="col" class="b">Run 2</th>
          {noted ? <th role="columnheader" scope="col">Run 2 to run 1</th> : null}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {facts.map((fact) => (
          <tr key={fact.label} role="row" class={fact.differs ? "differs" : undefined}>
            <th role="rowheader" scope="row"><Short text={fact.label} most={90} />{fact.differs ? <span class="mark" title="Differs"> ≠<span class="hidden"> differs</span></span> : null}</th>
            <td role="cell" class="a">{fact.a}</td>
            <td role="cell" class="b">{fact.b}</td>
            {noted ? <td role="cell" class="soft note">{fact.note ?? ""}</td> : null}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
