// What it took (a stand-in until the real one).
import type { Debate, Story } from "./story";
export function Costs(_: { story: Story; debate: Debate }) { return null; }
