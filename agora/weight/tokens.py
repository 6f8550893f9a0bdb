"""Tokenizers: copied where they are equal; else one is chosen, or all are united, when the recipe says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agora.errors import InputError
from agora.weight.folder import TOKENIZER
from agora.weight.parents import Parent
from agora.weight.recipe import Recipe, Token
from agora.weight.writer import copied

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_EMBEDDING = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")


@dataclass(frozen=True)
class Tokenizer:
    """The tokens of a model.

    Attributes:
        ids: of all tokens.
        added: how those are written in tokenizer.json that were added to its vocabulary.
        data: tokenizer.json; empty where there is none.
        rows: of the model's embedding.
    """

    ids: dict[str, int]
    added: dict[str, dict[str, Any]]
    data: dict[str, Any]
    rows: int

    @staticmethod
    def of(parent: Parent) -> Tokenizer:
        """A model's, as far as it can be read: of tokenizer.json, else of vocab.json.

        Raises:
            InputError: if a file is broken.
        """
        data = parent.checkpoint.json("tokenizer.json")
        where = f"{parent.label}: tokenizer.json"
        embedding = [parent.checkpoint.entries[n] for n in parent.checkpoint if n.endswith(_EMBEDDING)]
        rows = embedding[0].shape[0] if embedding else 0
        if not data:
            plain = parent.checkpoint.json("vocab.json")
            return Tokenizer({str(k): v for k, v in plain.items() if isinstance(v, int)}, {}, {}, rows)
        try:
            vocabulary = data["model"]["vocab"]
            pairs = (
                vocabulary.items() if isinstance(vocabulary, dict) else ((v[0], i) for i, v in enumerate(vocabulary))
            )
            ids = {str(token): int(number) for token, number in pairs}
            added = {str(entry["content"]): dict(entry) for entry in data.get("added_tokens") or ()}
            ids |= {content: int(entry["id"]) for content, entry in added.items()}
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"{where} cannot be read.") from error
        if any(number < 0 or number > 100_000_000 for number in ids.values()):
            raise InputError(f"{where} has ids that are none.")
        return Tokenizer(ids, added, data, rows)


@dataclass
class Chosen:
    """The output's tokenizer.

    Attributes:
        files: its files by name.
        ids: of its tokens; None where the models' rows stay as they are.
        rows: of the embedding, then.
        source: the model whose rows stand in where no token says otherwise.
        tokens: what the recipe says of single tokens.
        all: the models' tokenizers.
    """

    files: dict[str, bytes]
    ids: dict[str, int] | None = None
    rows: int = 0
    source: str = ""
    tokens: Mapping[str, Token] = field(default_factory=dict)
    all: Mapping[str, Tokenizer] = field(default_factory=dict)


def choose(recipe: Recipe, parents: Mapping[str, Parent], notes: list[str]) -> Chosen:
    """The tokenizer that a recipe asks for, or the one that all models share.

    Where nothing is asked for, the base's (else the first model's) files are copied; models in which an id is another
    token are refused, and a note tells of tokens that only some have.

    Raises:
        InputError: if the tokenizers differ and the recipe does not say what to do, or says what cannot be done.
    """
    donor = recipe.references()[0]
    spec = recipe.tokenizer
    wanted = spec.source if spec else recipe.tokenizer_source
    every = {reference: Tokenizer.of(parent) for reference, parent in parents.items()}
    if wanted is None:
        if recipe.merge_method != "passthrough":
            _compatible(donor, every, notes)
        return Chosen(_templated(recipe, parents, _files(parents[donor])))
    source = donor if wanted in ("union", "base") else wanted
    chosen = every[source]
    if not chosen.data:
        raise InputError(f"tokenizer_source needs tokenizer.json, which {source} lacks.",
                         hint="Save its tokenizer with `tokenizer.save_pretrained(folder)`.")  # fmt: skip
    ids, added = dict(chosen.ids), dict[str, dict[str, Any]]()
    extra = list((spec.tokens if spec else None) or {})
    if wanted == "union":
        for held in every.values():
            extra += sorted(held.ids, key=held.ids.__getitem__)
    following = max(ids.values(), default=-1) + 1
    for token in dict.fromkeys(extra):
        if token not in ids:
            ids[token] = following
            given = next((held.added[token] for held in every.values() if token in held.added), {})
            plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
            added[token] = {"id": following, "content": token, **{key: given.get(key, plain[key]) for key in plain}}
            following += 1
    rows = max(following, chosen.rows)
    multiple = (spec.pad_to_multiple_of if spec else None) or 1
    rows += -rows % multiple
    files = _files(parents[source])
    if added:
        data = chosen.data | {"added_tokens": [*(chosen.data.get("added_tokens") or ()), *added.values()]}
        files["tokenizer.json"] = json.dumps(data, ensure_ascii=False).encode()
        config = parents[source].checkpoint.json("tokenizer_config.json")
        if isinstance(config.get("added_tokens_decoder"), dict):
            config["added_tokens_decoder"] |= {
                str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
                for entry in added.values()
            }
            files["tokenizer_config.json"] = json.dumps(config, ensure_ascii=False, indent=2).encode()
        notes.append(f"{len(added):,} tokens were added to the tokenizer of {source}.")
    lost = {token for held in every.values() for token in held.ids} - set(ids)
    if lost:
        notes.append(f"{len(lost):,} tokens of other models are not in the tokenizer of {source} and were left out.")
    tokens = (spec.tokens if spec else None) or {}
    return Chosen(_templated(recipe, parents, files), ids, rows, source, tokens, every)


def _compatible(donor: str, every: Mapping[str, Tokenizer], notes: list[str]) -> None:
    own = every[donor]
    names = {number: token for token, number in own.ids.items()}
    for reference, held in every.items():
        if not own.ids or not held.ids or held.ids == own.ids:
            continue
        for token, number in held.ids.items():
            if names.get(number, token) != token or own.ids.get(token, number) != number:
                raise InputError(
                    f"the tokenizers of {donor} and {reference} differ: '{token[:40]}' is {number} in one only.",
                    hint="Say `tokenizer_source: union`, or base, or a model.",
                )
        notes.append(f"the tokenizers of {donor} and {reference} hold different tokens; {donor}'s is copied.")


def _files(parent: Parent) -> dict[str, bytes]:
    return copied({name: parent.checkpoint.inside(name) for name in TOKENIZER if (parent.folder / name).exists()})


def _template(parent: Parent) -> str | None:
    path = parent.folder / "chat_template.jinja"
    if path.exists():
        return parent.checkpoint.inside(path.name).read_text(encoding="utf-8", errors="replace")
    found = parent.checkpoint.json("tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((t.get("template") for t in found if isinstance(t, dict) and t.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _templated(recipe: Recipe, parents: Mapping[str, Parent], files: dict[str, bytes]) -> dict[str, bytes]:
    """With the chat template the recipe asks for: 'auto' is the most frequent one, 'chatml', or a template itself."""
    wanted = recipe.chat_template
    if wanted is None:
        return files
    if wanted == "auto":
        found = Counter(text.strip() for parent in parents.values() if (text := _template(parent)))
        if not found:
            return files
        wanted = found.most_common(1)[0][0]
    elif wanted == "chatml":
        wanted = CHATML
    elif "{" not in wanted:
        raise InputError(f"there is no chat template '{wanted[:40]}'.",
                         hint="There are auto and chatml; else write the template itself.")  # fmt: skip
    try:
        config = json.loads(files.get("tokenizer_config.json", b"{}"))
    except ValueError as error:
        raise InputError("tokenizer_config.json of the model whose tokenizer is copied is no JSON.") from error
    if not isinstance(config, dict):
        raise InputError("tokenizer_config.json of the model whose tokenizer is copied is no mapping.")
    config["chat_template"] = wanted
    kept = {name: content for name, content in files.items() if not name.startswith("chat_template")}
    return kept | {"tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=2).encode()}
