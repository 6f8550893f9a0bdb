"""What the guide to serving shows is run as it stands there, against a server on the models in the box."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import yaml
from agora_server import agora_serve

EXAMPLES = Path(__file__).parents[2] / "examples"
GUIDE = (EXAMPLES / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_code_in_the_guide(tmp_path: Path) -> None:
    text = (EXAMPLES / "quickstart.yaml").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 2
    with agora_serve(tmp_path, text=text, name="quickstart.yaml") as server:
        for code in blocks:
            shown = io.StringIO()
            names: dict[str, object] = {}
            with contextlib.redirect_stdout(shown):
                exec(compile(code.replace("http://127.0.0.1:8000", server.url), "serving.md", "exec"), names)
            names["client"].close()  # type: ignore[attr-defined]
            assert "142" in shown.getvalue()


def test_the_files_in_the_guide() -> None:
    (models,) = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[0])
    assert models["model_name"] == "quickstart"


def test_every_option_in_the_guide_is_one() -> None:
    from agora.cli.serve import serve

    options = {name for parameter in serve.params for name in parameter.opts}
    told = set(re.findall(r"`(--[a-z-]+)", GUIDE))
    assert told - {"--resume"} <= options
    assert len(told) > 10
