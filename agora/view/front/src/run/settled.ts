// A value that follows another a little later: for parts of a page that need not move with every event.

import { useEffect, useRef, useState } from "preact/hooks";

// The value once it has stood still for `still` milliseconds, and while it does not, as it was at most `most` milliseconds
// ago. null until the first frame has been drawn without it.
export function useSettled<T>(value: T, still = 90, most = 300): T | null {
  const [settled, setSettled] = useState<T | null>(null);
  const due = useRef(0);
  useEffect(() => {
    if (settled === value) return;
    const now = performance.now();
    if (due.current === 0) due.current = settled === null ? now : now + most;
    const timer = setTimeout(() => {
      due.current = 0;
      setSettled(value);
    }, Math.max(0, Math.min(settled === null ? 0 : still, due.current - now)));
    return () => clearTimeout(timer);
  }, [value, settled]);
  return settled;
}
