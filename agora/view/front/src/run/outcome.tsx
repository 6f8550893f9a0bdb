// What was decided, and who dissented (a stand-in until the real one).
import type { Debate, Story } from "./story";
export function Outcome(_: { story: Story; debate: Debate }) { return null; }
