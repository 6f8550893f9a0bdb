"""What merges promise where somebody or something works against them: kills, twins, wrong files, odd adapters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from click.testing import CliRunner

from agora.cli import agora
from agora.errors import ConfigError, InputError
from agora.weight import Checkpoint, WeightedSum, content_key, merge, search
from agora.weight.cached import cached
from agora.weight.searching import Numbers

NORMAL = np.random.default_rng(0).normal
Q = "model.layers.{}.q_proj"


def normal(*shape: int) -> np.ndarray:
    return NORMAL(size=shape).astype(np.float32)


def one(folder: Path, values: Any, dtype: str = "F32") -> str:
    return str(small.model(folder, {"x.weight": values}, dtype))


def adapter(folder: Path, alpha: Any = 4, **config: Any) -> str:
    """Of rank 2 on two layers of (3, 4)."""
    folder.mkdir()
    held = {}
    for i in range(2):
        held[f"base_model.model.{Q.format(i)}.lora_A.weight"] = normal(2, 4)
        held[f"base_model.model.{Q.format(i)}.lora_B.weight"] = normal(3, 2)
    small.file(folder / "adapter_model.safetensors", held)
    told = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(told | ({} if alpha is None else {"lora_alpha": alpha})))
    return str(folder)


def change(folder: Path | str, layer: int) -> np.ndarray:
    held, at = small.content(Path(folder)), f"base_model.model.{Q.format(layer)}"
    return held[f"{at}.lora_B.weight"] @ held[f"{at}.lora_A.weight"]


def based(folder: Path) -> str:
    return str(small.model(folder, {f"{Q.format(i)}.weight": np.zeros((3, 4), np.float32) for i in range(2)}))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("atomic", [True, False])
def test_what_is_replaced_survives_a_kill(tmp_path: Path, when: str, how: signal.Signals, atomic: bool) -> None:
    models = [one(tmp_path / name, normal(4, 4)) for name in "ab"]
    out = tmp_path / "out"
    merge({"passthrough": models[:1]}, out)
    code = f"""
import os, sys
from pathlib import Path
from agora.weight import merge, writer
real = Path.rename
def rename(self, target):
    if {when == "before"} and not str(target).endswith(".old"):
        os.kill(os.getpid(), {int(how)})
    made = real(self, target)
    if {when == "after"} and str(target).endswith(".old"):
        os.kill(os.getpid(), {int(how)})
    return made
Path.rename = rename
exchanged, synced = writer._exchanged, writer._sync
def exchange(one, other):
    if not {atomic}:
        return False
    if {when == "before"}:
        os.kill(os.getpid(), {int(how)})
    made = exchanged(one, other)
    os.kill(os.getpid(), {int(how)})
    return made
writer._exchanged = exchange
merge({{"passthrough": [sys.argv[1]]}}, sys.argv[2], overwrite=True)
"""
    found = subprocess.run([sys.executable, "-c", code, models[1], str(out)], capture_output=True, check=False)
    assert found.returncode != 0
    if atomic:  # there is never a moment without one
        assert Checkpoint(out).tensor("x.weight").shape == (4, 4)
    with pytest.raises(InputError):
        merge({"passthrough": [models[0]], "bad": 1}, out)
    merge({"passthrough": [models[0]]}, tmp_path / "out2")
    with pytest.raises(InputError, match="there already"):  # it is put back
        merge({"passthrough": [models[0]]}, out) if atomic else _twice(models[0], out)
    merge({"passthrough": models[:1]}, out, overwrite=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _twice(model: str, out: Path) -> None:
    from agora.weight.writer import _sweep

    _sweep(out)
    merge({"passthrough": [model]}, out)


def test_a_killed_merge_of_the_same_process_id_is_in_nobodys_way(tmp_path: Path) -> None:
    """In a container process ids are the same every time."""
    left = tmp_path / f".out.{os.getpid()}.part"
    left.mkdir()
    merge({"passthrough": [one(tmp_path / "a", normal(2, 2))]}, tmp_path / "out")
    assert not left.exists()


def test_many_threads_may_want_one_cached_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGORA_CACHE", str(tmp_path / "cache"))
    recipe = {"linear": [one(tmp_path / name, normal(512, 512)) for name in "ab"]}
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(cached(recipe))
        except InputError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert isinstance(found[0], Path)
    assert len(list(found[0].parent.iterdir())) == 1


def test_a_parent_edited_behind_its_times_is_another(tmp_path: Path) -> None:
    recipe = {"passthrough": [one(tmp_path / "a", normal(5000))]}
    path = tmp_path / "a" / "model.safetensors"
    key, about = content_key(recipe), path.stat()
    with path.open("r+b") as file:
        file.seek(about.st_size - 4 * 3500)  # where no sample is taken
        file.write(np.float32(9).tobytes())
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert content_key(recipe) != key


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sum_too_large_is_an_error_and_infinity_of_a_model_is_not(tmp_path: Path, dtype: str) -> None:
    big, low = one(tmp_path / "big", np.full((2, 2), 3e38)), one(tmp_path / "low", np.full((2, 2), -np.inf))
    recipe: dict[str, Any] = {"models": [{"model": big, "parameters": {"weight": -2}}], "out_dtype": dtype}
    with pytest.raises(InputError, match="too large"):
        merge({"merge_method": "linear", "parameters": {"normalize": False}, **recipe}, tmp_path / "out")
    merge({"passthrough": [low], "out_dtype": dtype, "scale": 2}, tmp_path / "low2")
    assert np.isneginf(small.content(tmp_path / "low2")["x.weight"]).all()


@pytest.mark.parametrize("method", ["dare_ties", "dare_linear", "della", "della_linear"])
def test_empty_tensors_with_l1(tmp_path: Path, method: str) -> None:
    a, b = (str(small.model(tmp_path / n, {"e": np.zeros(0, np.float32), "w": normal(2, 3)})) for n in "ab")
    merge({method: [a], "base": b, "density": 0.5, "rescale": "l1"}, tmp_path / "out")


@pytest.mark.parametrize("shape", [(2, 6), (8, 6), (6, 4)])
def test_fisher_information_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    f = one(tmp_path / "f", np.abs(normal(*shape)))
    models = {one(tmp_path / name, normal(4, 6)): {"fisher": f} for name in "ab"}
    with pytest.raises(InputError, match="Fisher information"):
        merge({"fisher": models}, tmp_path / "out")


@pytest.mark.parametrize(("method", "shape"), [("fisher", (4, 6)), ("regmean", (6, 6))])
@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "F32"), (1, "I64")])
def test_further_tensors_that_are_no_numbers(
    tmp_path: Path, method: str, shape: tuple[int, ...], value: float, dtype: str
) -> None:
    f = one(tmp_path / "f", np.full(shape, value), dtype)
    models = {one(tmp_path / n, normal(4, 6)): {{"regmean": "gram"}.get(method, method): f} for n in "ab"}
    with pytest.raises(InputError):
        merge({method: models}, tmp_path / "out")


@pytest.mark.parametrize("path", ["/dev/null", "x" * 300, "~nobodyhere/x"])
def test_paths_that_are_none(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError):
        merge({"passthrough": [path]}, tmp_path / "out")
    if "x" * 300 in path:
        with pytest.raises(InputError):
            merge({"passthrough": [one(tmp_path / "a", normal(2))]}, tmp_path / path)


def test_a_recipe_without_end() -> None:
    with pytest.raises(ConfigError, match="too long"):
        merge(Path("/dev/zero"), "out")


def test_layers_that_a_configuration_claims(tmp_path: Path) -> None:
    held = {f"model.layers.{i}.w.weight": normal(2, 2) for i in range(2)}
    a = str(small.model(tmp_path / "a", held, config={"model_type": "toy", "num_hidden_layers": 10**9}))
    slices = [{"sources": [{"model": a, "layer_range": [0, 10**9]}]}]
    with pytest.raises(InputError, match="no tensors of layer 2"):
        merge({"merge_method": "passthrough", "slices": slices}, tmp_path / "out")


def test_a_tokenizer_configuration_that_is_a_list(tmp_path: Path) -> None:
    a = one(tmp_path / "a", normal(2))
    (tmp_path / "a" / "tokenizer_config.json").write_text("[]")
    with pytest.raises(InputError, match="no mapping"):
        merge({"passthrough": [a], "chat_template": "chatml"}, tmp_path / "out")


def test_an_output_matrix_that_only_some_have_is_not_tied(tmp_path: Path) -> None:
    embedding = {"model.embed_tokens.weight": normal(3, 2)}
    tied = {"model_type": "toy", "tie_word_embeddings": True}
    a = small.model(tmp_path / "a", embedding, config=tied)
    b = small.model(tmp_path / "b", embedding | {"lm_head.weight": normal(3, 2)})
    report = merge({"linear": [str(a), str(b)]}, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert any("output matrix" in note for note in report.notes)


def test_an_adapter_twice(tmp_path: Path) -> None:
    a = adapter(tmp_path / "a")
    with pytest.raises(InputError, match="stands twice"):
        merge({"lora_concat": [a, a]}, tmp_path / "out")


def test_a_gradient_over_the_layers_of_adapters(tmp_path: Path) -> None:
    a = adapter(tmp_path / "a")
    merge({"lora_concat": {a: {"weight": [1, 5]}}}, tmp_path / "out")
    for layer, weight in ((0, 1), (1, 5)):
        np.testing.assert_allclose(change(tmp_path / "out", layer), 2 * weight * change(a, layer), rtol=1e-5)


@pytest.mark.parametrize(
    ("alpha", "config", "scales"),
    [
        (4, {"alpha_pattern": {r".*\.1\.q_proj": 40}}, (2, 20)),
        (4, {"alpha_pattern": {r"layers\.0\..*": 6}}, (3, 2)),
        (0, {}, (0, 0)),
        (None, {}, (4, 4)),
    ],
)  # fmt: skip
def test_scalings_are_pefts(tmp_path: Path, alpha: Any, config: dict[str, Any], scales: tuple[float, float]) -> None:
    a = adapter(tmp_path / "a", alpha, **config)
    merge({"passthrough": [f"{based(tmp_path / 'b')}+{a}"]}, tmp_path / "out")
    made = small.content(tmp_path / "out")
    for i, scale in enumerate(scales):
        np.testing.assert_allclose(made[f"{Q.format(i)}.weight"], scale * change(a, i), rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"trainable_token_indices": [1]},
     {"alora_invocation_tokens": [1]}, {"alpha_pattern": {"(": 1}}],
)  # fmt: skip
def test_adapters_that_are_no_plain_sum(tmp_path: Path, config: dict[str, Any]) -> None:
    a = adapter(tmp_path / "a", **config)
    with pytest.raises(InputError):
        merge({"passthrough": [f"{based(tmp_path / 'b')}+{a}"]}, tmp_path / "out")


def test_extraction_sees_the_adapter_of_the_model(tmp_path: Path) -> None:
    base, a = based(tmp_path / "b"), adapter(tmp_path / "a")
    models = [{"model": f"{base}+{a}"}]
    merge({"merge_method": "lora_extract", "base_model": base, "models": models, "parameters": {"rank": 2}},
          tmp_path / "out")  # fmt: skip
    np.testing.assert_allclose(change(tmp_path / "out", 1), 2 * change(a, 1), rtol=1e-4, atol=1e-5)


def test_extraction_from_a_tied_model(tmp_path: Path) -> None:
    embedding, w = normal(5, 4), f"{Q.format(0)}.weight"
    held = {"model.embed_tokens.weight": embedding, w: normal(3, 4)}
    base = small.model(tmp_path / "b", {**held, "lm_head.weight": embedding})
    tuned = small.model(tmp_path / "t", held | {w: normal(3, 4)}, config={"tie_word_embeddings": True})
    merge({"lora_extract": [str(tuned)], "base": str(base), "rank": 3}, tmp_path / "out")
    assert change(tmp_path / "out", 0).shape == (3, 4)


def test_a_folder_with_a_plus_beside_the_recipe(tmp_path: Path) -> None:
    one(tmp_path / "a+b", normal(2, 2))
    merge({"passthrough": ["a+b"]}, tmp_path / "out", beside=tmp_path)


def test_a_loader_that_makes_one_at_a_time_is_not_asked_for_more(tmp_path: Path) -> None:
    class Loader:
        together = 1

        def __call__(self, merged: Any) -> Any:
            return merged

    models = [one(tmp_path / name, normal(2, 2)) for name in "ab"]
    assert WeightedSum(models, load=Loader(), together=4).together == 1


def test_a_search_without_time() -> None:
    with pytest.raises(InputError, match="time was up"):
        search(Numbers(0, 1), lambda point: point[0], "random", seconds=1e-12)


def _command(tmp_path: Path) -> Callable[..., Any]:
    recipe, data = tmp_path / "r.yaml", tmp_path / "d.jsonl"
    recipe.write_text('{linear: {"pocket:sum": {weight: {search: [0.1, 1]}}, "pocket:mul": 1}}')
    data.write_text('{"question": "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?", "answer": 142}\n')

    def run(out: str, *more: str, data: str = str(data)) -> Any:
        options = ["--search", "--data", data, "--evaluations", "1", "--how", "random", "--no-baselines", *more]
        return CliRunner().invoke(agora, ["merge", str(recipe), out, *options])

    return run


def test_wrong_searches_are_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = _command(tmp_path)
    for result in (
        run("out", data="missing"), run("out", data="."), run(".", "--force"), run("out", "--plot", "nowhere/p.svg"),
        run("r.yaml/x/out"), run("out", "--history", "r.yaml/x"), run("out", "--shard", "nan"),
    ):  # fmt: skip
        assert isinstance(result.exception, InputError), (result.output, result.exception)
    assert not (tmp_path / "out").exists()


def test_a_search_writes_in_shards(tmp_path: Path) -> None:
    result = _command(tmp_path)(str(tmp_path / "out"), "--shard", "0.0005")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()


def test_merges_in_debate_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agora.config import load_model
    from agora.models.pocket import GivenPocketModel

    monkeypatch.setenv("AGORA_CACHE", str(tmp_path / "cache"))
    assert isinstance(load_model({"merge": {"linear": ["pocket:sum", "pocket:mul"]}}), GivenPocketModel)
    with pytest.raises(InputError, match="makes an adapter"):
        load_model({"merge": {"lora_extract": ["pocket:sum"], "base": "pocket:base", "rank": 2}})


def test_a_merge_with_the_pocket_tokenizer_and_other_sizes_is_no_pocket_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from dense_models import dense

    from agora.config import load_model
    from agora.models.huggingface import HuggingFaceModel

    monkeypatch.setenv("AGORA_CACHE", str(tmp_path / "cache"))
    models = [str(dense(tmp_path / name, seed)) for seed, name in enumerate("ab")]
    assert isinstance(load_model({"merge": {"linear": models}}), HuggingFaceModel)
    half = load_model({"merge": {"linear": ["pocket:sum", "pocket:mul"], "out_dtype": "bfloat16"}})
    assert isinstance(half, HuggingFaceModel)
