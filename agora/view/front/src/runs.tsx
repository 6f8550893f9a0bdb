export function RunList(_: { query:URLSearchParams }) { return <p>runs</p>; }
