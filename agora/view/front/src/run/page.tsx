import type { Source } from "../source";
export function RunPage(_: { source: Source; id?: string }) { return <p>run</p>; }
