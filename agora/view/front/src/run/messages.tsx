// The messages of a debate (a stand-in until the real one).
import type { Source } from "../source";
import type { Debate, Story } from "./story";
export function Messages(_: { story: Story; debate: Debate; selected: string | null; onOpen: (key: string) => void; source?: Source }) { return null; }
