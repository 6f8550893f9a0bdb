// Forms for persons who are waited for (a stand-in until the real one).
import type { Story } from "./run/story";
export function Seats(_: { story: Story; run: string }) { return null; }
