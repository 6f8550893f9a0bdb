// What is shown instead of a view that broke.

import type { ComponentChildren } from "preact";
import { useEffect, useErrorBoundary, useRef } from "preact/hooks";

export function Boundary({ children }: { children: ComponentChildren }) {
  const [error, reset] = useErrorBoundary((broke: unknown) => console.error(broke)) as [unknown, () => void];
  if (error === undefined || error === null || error === false) return <>{children}</>;
  return <Broken error={error} reset={reset} />;
}

function Broken({ error, reset }: { error: unknown; reset: () => void }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return (
    <div class="notice wrong" role="alert">
      <h2 tabIndex={-1} ref={heading}>This view broke</h2>
      <p>The page made a mistake. Runs go on without it, and nothing that was recorded is lost.</p>
      <p><code>{said.slice(0, 500)}</code></p>
      {error instanceof Error && error.stack !== undefined ? (
        <details>
          <summary>Where it happened, for a report</summary>
          <pre class="scroll" tabIndex={0}>{error.stack.slice(0, 5000)}</pre>
        </details>
      ) : null}
      <p class="row">
        <button type="button" onClick={reset}>Try again</button>
        <button type="button" onClick={() => location.reload()}>Load the page anew</button>
      </p>
    </div>
  );
}
