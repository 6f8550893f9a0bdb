// Evaluations: those the server was given, and the report of one, below our header.
export function Evaluations(_: { query: URLSearchParams }) { return <p>evaluations</p>; }
