// The frame around every view: the header, which view an address shows, and what cannot be shown.

import "./main.css"; // first, so that what a view says of its own pieces counts for more
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Boundary } from "./boundary";
import { Comparison } from "./comparison";
import { Evaluations } from "./evaluations";
import { NewDebate } from "./new";
import { RunPage } from "./run/page";
import { RunList } from "./runs";
import { inlaid, served } from "./source";
import { applyTheme, ThemeSwitch } from "./theme";
import { setTitle } from "./title";
import { Link } from "./way";

export { go, Link } from "./way";

applyTheme();

const file = inlaid();
const here = () => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export function App() {
  if (file !== null)
    return (
      <>
        <header class="top"><span class="brand">agora</span><ThemeSwitch /></header>
        <main id="main"><Boundary><RunPage source={file} /></Boundary></main>
      </>
    );
  return <Served />;
}

function Served() {
  const [at, setAt] = useState(here);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    const moved = () => setAt(here());
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  // a view's own effects come later: it may give a better title
  useLayoutEffect(() => {
    setTitle(titleOf(at.path));
    if (first.current) {
      first.current = false;
      return;
    }
    // as if a page had been loaded: what reads the page aloud begins at the view
    main.current?.focus({ preventScroll: true });
  }, [at.path]);
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <header class="top">
        <Link to="/" class="brand">agora</Link>
        <nav aria-label="Views">
          <Link to="/" current={at.path === "/"}>Runs</Link>
          <Link to="/new" current={at.path === "/new"}>New debate</Link>
          <Link to="/evaluations" current={at.path === "/evaluations"}>Evaluations</Link>
        </nav>
        <ThemeSwitch />
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        <Boundary key={at.path}>{view(at.path, at.query)}</Boundary>
      </main>
    </>
  );
}

const TITLES: Record<string, string> = {
  "/": "Runs", "/new": "New debate", "/compare": "Two runs side by side", "/evaluations": "Evaluations",
};

function titleOf(path: string): string {
  const run = runOf(path);
  return `${TITLES[path] ?? (run === null ? "Nothing here" : `Run ${run.slice(0, 60)}`)} · agora`;
}

function runOf(path: string): string | null {
  const found = /^\/runs\/(.+)$/.exec(path)?.[1];
  try {
    return found === undefined ? null : decodeURIComponent(found);
  } catch {
    return null; // an address that nobody of us made
  }
}

function view(path: string, query: URLSearchParams) {
  const id = runOf(path);
  if (id !== null) return <RunPage key={id} id={id} source={served(id)} />;
  if (path === "/") return <RunList query={query} />;
  if (path === "/new") return <NewDebate query={query} />;
  if (path === "/compare") return <Comparison key={query.toString()} ids={query.getAll("run")} />;
  if (path === "/evaluations") return <Evaluations query={query} />;
  return <><h1>Nothing here</h1><p class="empty">There is nothing at this address. <Link to="/">All runs</Link></p></>;
}
