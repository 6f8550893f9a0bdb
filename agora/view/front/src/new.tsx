export function NewDebate(_: { query:URLSearchParams }) { return <p>new</p>; }
