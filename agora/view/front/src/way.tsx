// The way between views: addresses, and links that do not load the page anew.

import type { ComponentChildren } from "preact";

// Go to a view without loading the page anew; `replace` where going back should not lead here again.
export function go(address: string, replace = false): void {
  const from = location.pathname;
  if (replace) history.replaceState(history.state, "", address);
  else history.pushState(null, "", address);
  if (location.pathname !== from) scrollTo(0, 0); // whoever goes back finds the place where he was
  dispatchEvent(new PopStateEvent("popstate"));
}

// The address of a run's page. Ids of an evaluation's items hold colons and slashes.
export const runAddress = (id: string): string => `/runs/${encodeURIComponent(id)}`;

// A link between views. Its address is ours, never a model's.
export function Link(props: { to: string; children: ComponentChildren; class?: string; current?: boolean; title?: string }) {
  return (
    <a
      href={props.to}
      class={props.class}
      title={props.title}
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
