// The document's title, and a mark before it while somebody is waited for.

const MARK = "(your turn) ";
let marked = false;

const bare = (): string => (document.title.startsWith(MARK) ? document.title.slice(MARK.length) : document.title);
const show = (text: string): void => {
  const whole = marked ? MARK + text : text;
  if (document.title !== whole) document.title = whole;
};

export const setTitle = (text: string): void => show(text);

// Whoever else sets the title, the mark comes back with the next call.
export function markTitle(on: boolean): void {
  const text = bare();
  marked = on;
  show(text);
}
