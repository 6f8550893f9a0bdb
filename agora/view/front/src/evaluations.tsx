export function Evaluations(_: { none?:string }) { return <p>evaluations</p>; }
