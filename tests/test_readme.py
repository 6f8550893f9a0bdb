"""What the README shows works: its Python runs, its YAML loads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from agora import config
from agora.models.pocket import WEIGHTS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
YAML = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_yaml(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AGORA_CACHE", str(tmp_path / "cache"))
    if "hf:" in text:
        pytest.importorskip("torch", reason="needs torch: pip install 'agora-debate[local]'")
        pytest.importorskip("peft", reason="needs peft")
    for name in re.findall(r"(?:hf|base): (\./[\w-]+)", text):
        shutil.copytree(WEIGHTS / "sum", tmp_path / name, dirs_exist_ok=True)
    for name in re.findall(r"adapter: (\./[\w-]+)", text):
        _adapter(tmp_path / name)
    for name in re.findall(r"merge: ([\w-]+\.yaml)", text):
        (tmp_path / name).write_text("{linear: ['./llama', './llama-law']}")
    whole = text if "agents:" in text else f"{text}agents: {{a: pocket:sum}}\n"
    config.loads(whole, "README.md", folder=tmp_path)


def _adapter(folder: Path) -> None:
    """A LoRA adapter of one tensor."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    header = b'{"a.lora_A.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
