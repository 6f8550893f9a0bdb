"""A debate from a plain script, with scripted agents: how to test a design of your own without any model."""

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.text.stop import rounds, unanimous

stubborn = Agent("stubborn", ScriptedModel("I checked it twice. Answer: 42"))
open_minded = Agent(
    "open-minded", ScriptedModel(["My guess. Answer: 41", "You are right, I had miscounted. Answer: 42"])
)
debate = Debate([stubborn, open_minded], answer="number", moderator=Moderator(unanimous() | rounds(3)))

verdict = debate.run("What is six times seven?")
print(verdict.answer, "-", verdict.reason)
for change in verdict.changes:
    print(f"{change.agent} went from {change.before} to {change.after} after reading {', '.join(change.read)}")
