// The frame around every view: the header, the way between views, and what cannot be shown.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Comparison } from "./comparison";
import { Evaluations } from "./evaluations";
import { NewDebate } from "./new";
import { RunPage } from "./run/page";
import { RunList } from "./runs";
import { inlaid, served } from "./source";
import "./main.css";

// Go to a view without loading the page anew.
export function go(address: string): void {
  history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

// A link between views. Its address is ours, never a model's.
export function Link(props: { to: string; children: ComponentChildren; class?: string; current?: boolean }) {
  return (
    <a
      href={props.to}
      class={props.class}
      aria-current={props.current ? "page" : undefined}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        go(props.to);
      }}
    >
      {props.children}
    </a>
  );
}

const here = () => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export function App() {
  const file = inlaid();
  const [at, setAt] = useState(here);
  useEffect(() => {
    const moved = () => setAt(here());
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  if (file !== null) return <main id="main"><RunPage source={file} /></main>;
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
      </header>
      <main id="main" tabIndex={-1}>{view(at.path, at.query)}</main>
    </>
  );
}

function view(path: string, query: URLSearchParams) {
  const run = /^\/runs\/(.+)$/.exec(path)?.[1];
  if (run !== undefined) {
    const id = decodeURIComponent(run);
    return <RunPage key={id} id={id} source={served(id)} />;
  }
  if (path === "/") return <RunList query={query} />;
  if (path === "/new") return <NewDebate query={query} />;
  if (path === "/compare") return <Comparison key={query.toString()} ids={query.getAll("run")} />;
  if (path === "/evaluations") return <Evaluations />;
  return <p class="empty">There is nothing at this address.</p>;
}
