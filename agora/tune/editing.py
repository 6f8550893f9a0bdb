"""Changes data in the text of a YAML file, so that comments and layout stay where nothing changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from agora.config.reading import parse
from agora.errors import InputError

_Edit = tuple[int, int, str]  # from, to, what stands there instead
_GONE = object()


def rewritten(text: str, new: Mapping[str, Any], file: str = "debate") -> str:
    """The text with the data that it shall have. What cannot be changed in place (anchors, merged keys) makes the whole
    file be written anew, without its comments.

    Args:
        text: YAML, a mapping.
        new: its new data.
        file: its name, for errors.

    Raises:
        ConfigError: if the text is no such file.
    """
    old, _ = parse(text, file)
    if old == new:
        return text
    root = yaml.compose(text, yaml.SafeLoader)
    made = text
    for start, end, piece in sorted(_edits(root, old, new, text), key=lambda edit: (edit[0], edit[1]), reverse=True):
        made = made[:start] + piece + made[end:]
    try:
        if parse(made, file)[0] == new:
            return made
    except InputError:
        pass
    return yaml.safe_dump(dict(new), sort_keys=False, allow_unicode=True, width=110)


def _edits(node: Any, old: Any, new: Any, text: str) -> Iterator[_Edit]:
    """What must change below a node."""
    if old == new and type(old) is type(new):
        return
    if isinstance(node, yaml.SequenceNode) and isinstance(new, list) and len(new) == len(old):
        for child, before, after in zip(node.value, old, new, strict=True):
            yield from _edits(child, before, after, text)
        return
    keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) and isinstance(new, Mapping) else []
    gone = [key for key in keys if key.value not in new]
    if not keys or len(gone) == len(keys) or (gone and node.flow_style):
        yield node.start_mark.index, _end(node), _flow(new)
        return
    for key, value in node.value:
        if key in gone:
            yield key.start_mark.index - key.start_mark.column, _line(text, _end(value)), ""
        else:
            yield from _edits(value, old.get(key.value), new[key.value], text)
    more = {key: value for key, value in new.items() if key not in old}
    if not more:
        return
    last = _end(node.value[-1][1])
    if node.flow_style:
        yield last, last, "".join(f", {_pair(key, value)}" for key, value in more.items())
    else:
        at, indent = _line(text, last), " " * keys[0].start_mark.column
        before = "" if text[at - 1] == "\n" else "\n"
        yield at, at, before + "".join(f"{indent}{_pair(key, value)}\n" for key, value in more.items())


def _end(node: Any) -> int:
    """Where a node's own text ends: a block ends with its last value, not where the next token begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line(text: str, at: int) -> int:
    """Where the next line begins."""
    if at and text[at - 1] == "\n":  # a block of text ends there
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _flow(value: Any) -> str:
    """A value on one line, as it may stand anywhere."""
    made = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return made.strip()[1:-1]


def _pair(key: str, value: Any) -> str:
    return f"{_flow(key)}: {_flow(value)}"
