// Where the reader is: beside the page where there is room, else over it. Its focus comes from and goes back to the page.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const BESIDE = "(min-width: 1080px)";

export function useWide(): boolean {
  const [wide, setWide] = useState(() => matchMedia(BESIDE).matches);
  useEffect(() => {
    const query = matchMedia(BESIDE), changed = (): void => setWide(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return wide;
}

export function Panel({ wide, onClose, children }: { wide: boolean; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const opener = useRef<Element | null>(null);
  opener.current ??= document.activeElement;
  useEffect(() => {
    dialog.current?.showModal();
    return () => dialog.current?.close();
  }, [wide]);
  useEffect(() => () => {
    // the cell it was opened from may have gone out of sight, and so out of the page
    const from = opener.current as HTMLElement | null;
    const to = from !== null && from.isConnected && from !== document.body ? from : document.querySelector<HTMLElement>(".rounds [data-at][tabindex='0']");
    requestAnimationFrame(() => to?.focus({ preventScroll: true }));
  }, []);
  useEffect(() => {
    if (!wide) return; // a dialog closes by itself
    const keys = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !event.defaultPrevented) onClose();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [wide, onClose]);
  if (wide) return <aside class="panel" aria-label="Reader">{children}</aside>;
  return (
    <dialog class="panel" ref={dialog} aria-label="Reader" onCancel={(event) => { event.preventDefault(); onClose(); }}>
      {children}
    </dialog>
  );
}
