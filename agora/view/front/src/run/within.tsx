// Debates within a debate: an agent may be one. The way to each and back.

import type { Debate, Story } from "./story";

// Where a debate stands, from the outside in: (agent, round, phase) of each turn it is in.
export function steps(path: string): string[] {
  const parts = path.split("/"),
    found: string[] = [];
  for (let i = 0; i < parts.length; i += 3) found.push(parts.slice(i, i + 3).join("/"));
  return found;
}

const called = (step: string): string => {
  const [agent, round, ...rest] = step.split("/");
  return round === undefined ? step : `${agent}, round ${round}${rest.length > 0 ? `, ${rest.join(", ")}` : ""}`;
};

// Place of a turn of this debate -> path of the debate in it.
export function within(story: Story, path: string): Map<string, string> {
  const found = new Map<string, string>(),
    start = path === "" ? "" : `${path}/`;
  for (const other of story.debates.keys()) {
    if (other === path || !other.startsWith(start)) continue;
    // the debate may be a member of the agent's model, some steps further in
    for (let end = other.length; end > start.length; end = other.lastIndexOf("/", end - 1)) {
      const place = other.slice(0, end),
        before = found.get(place);
      if (before === undefined || before.length > other.length) found.set(place, other);
    }
  }
  return found;
}

const MOST = 200;

export function Within({ story, debate, onInner }: { story: Story; debate: Debate; onInner: (path: string) => void }) {
  const paths = [...story.debates.keys()].filter((path) => path !== "");
  if (paths.length === 0) return null;
  const outer = debate.path === "" ? [] : ["", ...paths.filter((path) => debate.path.startsWith(`${path}/`))];
  const start = debate.path === "" ? "" : `${debate.path}/`;
  const here = paths.filter((path) => path !== debate.path && path.startsWith(start));
  const relative = (path: string): string => steps(path.slice(start.length)).map(called).join(" › ");
  return (
    <div class="ways">
      {debate.path !== "" && (
        <nav aria-label="Debates around this one">
          {outer.map((path) => (
            <span key={path}>
              <button type="button" onClick={() => onInner(path)}>
                {path === "" ? "The whole run" : steps(path).map(called).at(-1)}
              </button>{" "}
              <span aria-hidden="true">›</span>{" "}
            </span>
          ))}
          <b aria-current="page">
            <bdi>{steps(debate.path).map(called).at(-1)}</bdi>
          </b>
        </nav>
      )}
      {here.length > 0 && (
        <label class="soft">
          {here.length === 1 ? "A debate within a turn" : `${here.length} debates within turns`}{" "}
          <select
            value=""
            onChange={(event) => {
              if (event.currentTarget.value !== "") onInner(event.currentTarget.value);
            }}
          >
            <option value="">open…</option>
            {here.slice(0, MOST).map((path) => (
              <option key={path} value={path}>
                {relative(path)}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  );
}
