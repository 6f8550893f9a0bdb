"""Who says what within an answer: an ensemble's tokens, shaded by how much its members disagree about each.

python examples/fusion.py ["a word problem"]
"""

import math
import sys

import anyio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agora import Message, Settings
from agora.logit import fuse
from agora.models.pocket import PocketModel

QUESTION = "Ida has 40 boxes of 9 cups and gets 48. How many cups now?"


async def main(question: str) -> None:
    members = [PocketModel(name) for name in ("sum", "mul", "sort", "mod")]
    reply = await fuse(members, "surest").answer([Message("user", question)], Settings(logprobs=0))
    shaded, table = Text(), Table("token", "disagreement", *(member.name for member in members), title=question)
    for token in reply.tokens:
        apart = token.disagreement or 0.0
        shaded.append(token.text, style=f"black on rgb(255,{255 - round(200 * apart)},{255 - round(230 * apart)})")
        table.add_row(repr(token.text), f"{apart:.2f}", *(f"{math.exp(logprob):.2f}" for _, logprob in token.by))
    console = Console()
    console.print(table)
    console.print(shaded)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else QUESTION)
