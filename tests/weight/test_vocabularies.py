"""Tokenizers and the rows that go with them: equal, united, chosen, padded, told one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from agora.errors import InputError
from agora.weight import merge

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def model(folder: Path, tokens: list[str], start: float, *, rows: int | None = None, added: tuple[str, ...] = (),
          **config: Any) -> str:  # fmt: skip
    """Row i of the embedding is start + i, of the output matrix its negative."""
    every = [*tokens, *added]
    values = np.repeat(start + np.arange(rows or len(every), dtype=float)[:, None], 2, 1)
    small.model(folder, {EMBEDDING: values, "l.weight": [[start]], HEAD: -values},
                config={"model_type": "llama", "vocab_size": len(values)})  # fmt: skip
    entries = [{"id": len(tokens) + i, "content": token, "special": True, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False} for i, token in enumerate(added)]  # fmt: skip
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE", "vocab": vocabulary}, "added_tokens": entries})
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {}, **config}))
    return str(folder)


def rows(folder: Path, name: str = EMBEDDING) -> list[float]:
    return [float(value) for value in small.content(folder)[name][:, 0]]


def ids(folder: Path) -> dict[str, int]:
    data = json.loads((folder / "tokenizer.json").read_text())
    return data["model"]["vocab"] | {entry["content"]: entry["id"] for entry in data["added_tokens"]}


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def test_equal_tokenizers_are_copied(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["x", "y"], 20)
    report = merge({"linear": [a, b]}, tmp_path / "out")
    assert rows(tmp_path / "out") == [15, 16]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert report.notes == ()


def test_an_id_that_is_two_tokens_is_refused(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["y", "x"], 20)
    with pytest.raises(InputError, match="tokenizer_source: union") as raised:
        merge({"linear": [a, b]}, tmp_path / "out")
    assert "differ" in str(raised.value)


def test_one_more_token_in_padding_is_noted(tmp_path: Path) -> None:
    a = model(tmp_path / "a", ["x", "y"], 10, rows=4)
    b = model(tmp_path / "b", ["x", "y"], 20, rows=4, added=("<pad>",))
    report = merge({"linear": [a, b]}, tmp_path / "out")
    assert rows(tmp_path / "out") == [15, 16, 17, 18]
    assert any("different tokens" in note for note in report.notes)


def test_different_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["x", "y"], 20, rows=3)
    with pytest.raises(InputError, match=r"\[2, 2\].*\[3, 2\].*tokenizer_source"):
        merge({"linear": [a, b]}, tmp_path / "out")


def test_union(tmp_path: Path) -> None:
    a = model(tmp_path / "a", ["x", "y"], 10)
    b = model(tmp_path / "b", ["z", "x"], 20, added=("<s>",))
    report = merge({"linear": [a, b], "tokenizer": "union"}, tmp_path / "out")
    assert ids(tmp_path / "out") == {"x": 0, "y": 1, "z": 2, "<s>": 3}
    # x: 10 and 21; y, z and <s> each in one model, whose row stands for the other too
    assert rows(tmp_path / "out") == [15.5, 11, 20, 22]
    assert rows(tmp_path / "out", HEAD) == [-15.5, -11, -20, -22]
    assert config(tmp_path / "out")["vocab_size"] == 4
    added = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["added_tokens"]
    assert [(entry["content"], entry["special"]) for entry in added] == [("z", False), ("<s>", True)]
    decoder = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert decoder["3"]["content"] == "<s>"
    assert report.notes == (f"2 tokens were added to the tokenizer of {a}.",)


def test_union_with_a_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base", ["x", "y"], 0)
    a, b = model(tmp_path / "a", ["x", "y", "z"], 10), model(tmp_path / "b", ["x", "z"], 20)
    merge({"task_arithmetic": [a, b], "base": base, "tokenizer": "union"}, tmp_path / "out")
    # y lacks in b: the base's 1 stands in, so only a moves it; z lacks in the base: the average of 12 and 21
    assert ids(tmp_path / "out") == {"x": 0, "y": 1, "z": 2}
    assert rows(tmp_path / "out") == [0 + 10 + 20, 1 + 10 + 0, 16.5 - 4.5 + 4.5]


def test_the_tokenizer_of_one(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["z", "x"], 20, rows=4)
    report = merge({"linear": [a, b], "tokenizer": b}, tmp_path / "out")
    assert ids(tmp_path / "out") == {"z": 0, "x": 1}
    # z is b's for both; x is 10 and 21; b's rows that pad are b's for both
    assert rows(tmp_path / "out") == [20, 15.5, 22, 23]
    assert any("1 tokens of other models" in note for note in report.notes)
    merge({"linear": [a, b], "tokenizer": "base"}, tmp_path / "first")
    assert ids(tmp_path / "first") == {"x": 0, "y": 1}
    assert rows(tmp_path / "first") == [15.5, 11]


def test_rows_are_kept_where_only_they_differ(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10, rows=4), model(tmp_path / "b", ["x", "y"], 20)
    merge({"linear": [a, b], "tokenizer": "base"}, tmp_path / "out")
    assert rows(tmp_path / "out") == [15, 16, 12, 13]


def test_padding(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["x", "z"], 20)
    spec = {"source": "union", "pad_to_multiple_of": 4}
    merge({"linear": [a, b], "tokenizer": spec}, tmp_path / "out")
    assert rows(tmp_path / "out") == [15, 11, 21, 10.5]  # what pads is the mean of the rows of a
    assert config(tmp_path / "out")["vocab_size"] == 4


def test_tokens_one_by_one(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x", "y"], 10), model(tmp_path / "b", ["x", "y"], 20)
    tokens = {
        "new": {"source": {"kind": "zero"}},
        "twin": {"source": {"kind": "model_token", "model": b, "token": "y"}},
        "third": {"source": {"kind": "model_token", "model": b, "token_id": 0}},
        "x": {"source": b, "force": True},
        "y": {"source": b},
    }
    merge({"linear": [a, b], "tokenizer": {"source": "union", "tokens": tokens}}, tmp_path / "out")
    assert ids(tmp_path / "out") == {"x": 0, "y": 1, "new": 2, "twin": 3, "third": 4}
    assert rows(tmp_path / "out") == [20, 16, 0, 21, 20]  # y has a row of its own in both, and is not forced
    for source, wanted in (({"kind": "model_token", "model": b, "token": "q"}, "no token 'q'"),
                           ({"kind": "model_token", "model": b, "token_id": 9}, "has no row 9"),
                           ({"kind": "other"}, "its source is a model")):  # fmt: skip
        spec = {"source": "union", "tokens": {"new": {"source": source}}}
        with pytest.raises(InputError, match=wanted):
            merge({"linear": [a, b], "tokenizer": spec}, tmp_path / "none")


def test_a_union_in_pieces_is_the_same_bytes(tmp_path: Path) -> None:
    first = [f"t{i}" for i in range(900)]
    a = model(tmp_path / "a", first, 1)
    b = model(tmp_path / "b", [*first[::-1], *(f"u{i}" for i in range(100))], 7)
    for name, chunk in (("p", None), ("q", 3), ("r", 77)):
        merge({"linear": [a, b], "tokenizer": "union"}, tmp_path / name, chunk=chunk)
    content = [(tmp_path / name / "model.safetensors").read_bytes() for name in "pqr"]
    assert content[0] == content[1] == content[2]


def test_chat_templates(tmp_path: Path) -> None:
    a = model(tmp_path / "a", ["x"], 1, chat_template="{{ one }}")
    b = model(tmp_path / "b", ["x"], 2, chat_template="{{ two }}")
    c = model(tmp_path / "c", ["x"], 3, chat_template=[{"name": "default", "template": "{{ two }}\n"}])
    (tmp_path / "a" / "chat_template.jinja").write_text("{{ one }}")
    for wanted, template in (("auto", "{{ two }}"), ("{{ mine }}", "{{ mine }}"), ("chatml", None)):
        out = tmp_path / f"out{len(wanted)}"
        merge({"linear": [a, b, c], "chat_template": wanted}, out)
        found = json.loads((out / "tokenizer_config.json").read_text())["chat_template"]
        assert found == template or (template is None and "<|im_start|>" in found)
        assert not (out / "chat_template.jinja").exists()
    with pytest.raises(InputError, match="there is no chat template 'lama'"):
        merge({"linear": [a, b], "chat_template": "lama"}, tmp_path / "none")


@pytest.mark.parametrize("content", ["{", "[]", '{"model": 3}', '{"model": {"vocab": {"a": "b"}}}',
                                     '{"model": {"vocab": {"a": -1}}}'])  # fmt: skip
def test_tokenizers_that_are_broken(content: str, tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", ["x"], 1), model(tmp_path / "b", ["x"], 2)
    (tmp_path / "b" / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        merge({"linear": [a, b]}, tmp_path / "out")


def test_a_united_tokenizer_loads(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    paths = []
    for i, words in enumerate((["a", "b", "ab"], ["c", "b", "a"])):
        folder = tmp_path / f"m{i}"
        model(folder, words, 10 * i, added=("<s>",))
        made = tokenizers.Tokenizer(
            tokenizers.models.BPE({w: k for k, w in enumerate(words)}, [("a", "b")] if i == 0 else [])
        )
        made.add_special_tokens(["<s>"])
        made.save(str(folder / "tokenizer.json"))
        paths.append(str(folder))
    merge({"linear": paths, "tokenizer": "union"}, tmp_path / "out")
    read = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert read.encode("<s>abc").tokens == ["<s>", "ab", "c"]
    assert read.get_vocab() == ids(tmp_path / "out")
