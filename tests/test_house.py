"""The order of the house: a file imports only from the lines above it; the export list changes only on purpose."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import agora

ORDER = [
    "errors", "records", "model", "answers", "sandbox", "prompts", "journal", "store", "budget", "calls", "models",
    "api", "logit", "weight", "text", "layout", "lettering", "drawing", "view", "terminal", "notebook", "config",
    "evaluate", "simulate", "tune", "serve", "cli",
]  # fmt: skip
ROOT = Path(agora.__file__).parent


def _imports(path: Path) -> set[str]:
    found: set[str] = set()

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("agora"):
                names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "agora" else [node.module]
                found.update(name.split(".")[1] for name in names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            elif isinstance(node, (ast.If, ast.Try, ast.With)):
                visit(node.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def test_a_file_imports_only_from_above() -> None:
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if own in ("__init__", "_prompts"):
            continue
        for name in _imports(path):
            assert ORDER.index(name) <= ORDER.index(own), f"{path.name} imports {name}"


def test_modules_begin_with_a_sentence() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not text or ast.get_docstring(ast.parse(text)), path


def test_exports() -> None:
    for name in agora.__all__:
        assert getattr(agora, name) is not None
    assert set(agora._EXPORTS) | {"__version__"} == set(agora.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, agora; agora.Debate; "
        "print([m for m in ('openai', 'anthropic', 'torch', 'networkx', 'numpy', 'yaml', 'rich', "
        "'sqlalchemy', 'httpx2', 'tenacity', 'genai_prices') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
