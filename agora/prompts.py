"""The Jinja environment over `prompts/`: strict; what users bring is sandboxed; what models say is never a template."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta

from agora.errors import TemplateError
from agora.sandbox import Sandbox

# every name a template may use; one that uses another is found when it is loaded, before any call
TURN = frozenset(
    {
        "question", "agent", "persona", "answer", "ask_confidence", "ask_done", "round", "peers", "own", "notes",
        "critiques", "history", "summary", "agreement", "contentiousness", "phase", "ballots", "standing",
    }
)  # fmt: skip
_MODERATOR = frozenset({"question", "answer", "peers", "history", "round"})
NAMES: Mapping[str, frozenset[str]] = {
    "system": frozenset({"agent", "persona", "adversary"}),
    **dict.fromkeys(("answer", "revise", "critique", "examine", "respond", "summarise", "rank", "score"), TURN),
    **dict.fromkeys(("aggregate", "judge", "moderate", "overton", "compare", "select"), _MODERATOR),
    "route": frozenset({"question", "cards", "names"}),
    "verify": frozenset({"question", "text"}),
    "digest": frozenset({"question", "text", "kind"}),
    "minutes": frozenset({"question", "summary", "peers", "round"}),
    "grade": frozenset({"question", "peers"}),
    "cover": frozenset({"question", "text", "peers"}),
}


def folder() -> Path:
    """Where the shipped templates are: inside the wheel, or beside the package in a checkout."""
    inside = Path(__file__).parent / "_prompts"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "prompts"


_INCLUDE = re.compile(r"\{% include '([a-z_/]{1,60}\.jinja)' %\}\n?")


class _Loader(jinja2.FileSystemLoader):
    """Puts included templates in place of their includes: a context for each would cost more than their text."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, name, fresh = super().get_source(environment, template)
        return self.whole(source), name, fresh

    @staticmethod
    def whole(source: str) -> str:
        """A template's text with the shipped parts that it includes."""
        return _INCLUDE.sub(lambda match: (folder() / match[1]).read_text(encoding="utf-8"), source)


@lru_cache(maxsize=2)
def _environment(shipped: bool) -> jinja2.Environment:
    # the shipped templates are as trustworthy as this code, and three times as fast without a sandbox
    kind = jinja2.Environment if shipped else Sandbox
    return kind(
        loader=_Loader(folder()),
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


class Template:
    """One prompt template.

    Args:
        name: which template it stands for: a key of `NAMES`.
        source: its text; None loads the shipped one.
        style: a folder of templates a model prefers ('pocket'); used where it has this template.

    Raises:
        TemplateError: if it does not exist, does not parse, or uses a name that templates of this kind do not get.

    Attributes:
        uses: the names that stand in it.
    """

    def __init__(self, name: str, source: str | None = None, style: str | None = None) -> None:
        if name not in NAMES and source is None:
            raise TemplateError(f"there is no template '{name}'; there are {', '.join(NAMES)}.")
        allowed = NAMES.get(name, TURN)  # a phase with a name of its own
        self.name, self._sandboxed = name, False
        env = _environment(source is None)
        try:
            if source is None:
                paths = [f"{style}/{name}.jinja"] if style else []
                loaded = env.select_template([*paths, f"{name}.jinja"])
                source = _Loader.whole(Path(str(loaded.filename)).read_text(encoding="utf-8"))
                self._template = loaded
            else:
                source = _Loader.whole(source)
                assert isinstance(env, Sandbox)
                self._template, self._sandboxed = env.bounded(source), True
            self.uses = frozenset(meta.find_undeclared_variables(env.parse(source)))
            unknown = self.uses - allowed - set(env.globals)
        except TemplateError as error:
            raise TemplateError(f"template '{name}': {error}.") from None
        except (jinja2.TemplateSyntaxError, jinja2.TemplateAssertionError) as error:
            raise TemplateError(f"template '{name}', line {error.lineno}: {error.message}.") from error
        except jinja2.TemplateNotFound as error:
            raise TemplateError(f"template '{name}' was not found in {folder()}.") from error
        if unknown:
            raise TemplateError(
                f"template '{name}' uses '{sorted(unknown)[0]}', which it is not given; "
                f"it may use {', '.join(sorted(allowed))}."
            )

    def render(self, **values: Any) -> str:
        """The text of the template.

        Raises:
            TemplateError: if a value is used in a way that it does not allow.
        """
        try:
            return Sandbox.text(self._template, values) if self._sandboxed else self._template.render(values)
        except Exception as error:
            raise TemplateError(f"template '{self.name}' cannot be rendered: {error}.") from error


@lru_cache(maxsize=256)
def shipped(name: str, style: str | None = None) -> Template:
    """The shipped template, of a style where that style has it."""
    return Template(name, style=style)


def template(name: str, override: str | Path | None = None, style: str | None = None) -> Template:
    """The template to use: an override (a path, or text that has more than one line or a brace), else the shipped one.

    Raises:
        TemplateError: if the file cannot be read, or the template is wrong.
    """
    if override is None:
        return shipped(name, style)
    if isinstance(override, Path) or (override.endswith((".jinja", ".txt", ".md")) and "{" not in override):
        try:
            return _given(name, Path(override).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"template '{name}': cannot read {override}: {error}.") from error
    if re.fullmatch(r"[\w-]{1,60}", override):
        raise TemplateError(
            f"template '{name}': '{override}' is neither a file (.jinja, .txt, .md) nor a template's text."
        )
    return _given(name, override)


@lru_cache(maxsize=512)
def _given(name: str, source: str) -> Template:
    """A template of a text, compiled once."""
    return Template(name, source)
