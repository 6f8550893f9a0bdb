// What is open, as the part of the address after `#`: a link to a page shows it, in a file too.

export interface Opened {
  debate: string; // path; "" is the run's own
  turn: string | null; // key
  agent: string | null;
}

export const NOTHING: Opened = { debate: "", turn: null, agent: null };

export function read(hash: string): Opened | null {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const opened = { debate: found.get("debate") ?? "", turn: found.get("turn"), agent: found.get("agent") };
  // "#main" is where the keyboard jumped to, not something else that is to be shown
  return opened.debate === "" && opened.turn === null && opened.agent === null && hash.length > 1 ? null : opened;
}

export function written(opened: Opened): string {
  const said = new URLSearchParams();
  if (opened.debate !== "") said.set("debate", opened.debate);
  if (opened.turn !== null) said.set("turn", opened.turn);
  if (opened.agent !== null) said.set("agent", opened.agent);
  const text = said.toString();
  return text === "" ? "" : `#${text}`;
}

export function keep(opened: Opened): void {
  try {
    history.replaceState(history.state, "", `${location.pathname}${location.search}${written(opened)}`);
  } catch {
    // a page inside another page, as in a notebook, may have no address of its own
  }
}
