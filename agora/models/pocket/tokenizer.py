"""The pocket models' tokenizer: ASCII characters, and whole pieces of the problem language matched longest first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from agora.models.pocket.problems import GAINS, LOSSES, NAMES, NOUNS, ORDINALS

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
CONFIDENCE_WORDS = ("sure", "likely", "maybe", "guess")
LABELS = tuple(f" P{i}: " for i in range(1, 7))
PIECES = (
    *LABELS,
    *CONFIDENCE_WORDS,
    *("said", "Best", "Q: ", "A: ", " by ", "Answer: ", "Copy", "\n"),
    *NAMES,
    *(f" {noun}" for noun in NOUNS),
    *(f" {verb} " for verb in (*GAINS, *LOSSES, "has", "puts", "and")),
    *(f" {ordinal} " for ordinal in ORDINALS),
    *(" boxes of ", " in bags of ", " How many", " now?", " in all?", " are left over?"),
    *("Of ", " which is the", "largest", "smallest", ". "),
)
CHARACTERS = tuple(chr(code) for code in range(32, 127))
VOCABULARY: tuple[str, ...] = (*SPECIAL, *CHARACTERS, *PIECES)

_IDS = {token: i for i, token in enumerate(VOCABULARY)}
_SPLIT = re.compile("|".join(re.escape(p) for p in sorted(PIECES, key=len, reverse=True)) + r"|[\s\S]")


def encode(text: str) -> list[int]:
    """Token ids of a text; a character outside ASCII becomes `<unk>`."""
    return [_IDS.get(match, UNK) for match in _SPLIT.findall(text)]


def decode(tokens: Sequence[int]) -> str:
    """The text of token ids; special tokens are left out."""
    return "".join(VOCABULARY[token] for token in tokens if token > UNK)


def to_huggingface() -> str:
    """The same tokenizer as the text of a `tokenizer.json`."""
    first_piece = len(SPECIAL) + len(CHARACTERS)
    added = [
        {
            "id": i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": i <= UNK,
        }
        for i, token in enumerate(VOCABULARY)
        if i <= UNK or i >= first_piece
    ]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"[\s\S]"},
                "behavior": "Isolated",
                "invert": False,
            },
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(VOCABULARY)}, "unk_token": "<unk>"},
        },
        indent=1,
    )
