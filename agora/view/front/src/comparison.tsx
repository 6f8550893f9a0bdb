export function Comparison(_: { ids:string[] }) { return <p>comparison</p>; }
