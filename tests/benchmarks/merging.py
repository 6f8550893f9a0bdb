"""Merging: CPU seconds, wall time and peak private memory beside a plain copy of the same bytes, and beside mergekit.

    python tests/benchmarks/merging.py [--layers 24] [--repeat 3] [--compiled both] [--mergekit PYTHON]
                                        [--json]

It makes a base of 0.5B parameters in bfloat16 and three models (base + N(0, 1e-3)) in a temporary folder. Every figure
is of a process of its own, started afresh: interpreter and imports included. 'copy N' reads the bytes of N models
through a buffer, writes those of one, and brings them to the disk, as a merge must; a merge is 'x floor' of the copy
with as many inputs. Private memory is the most anonymous memory seen (VmRSS less what is mapped from files), sampled
every 20 ms. The caches are warm: one copy goes first. 'compiled' is with numba's kernels whatever the size, 'agora'
without; that takes loading them, which is in the figures, and once a machine compiling them, which is a row of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, INNER, VOCABULARY = 1024, 4096, 48_000
MODELS = ("base", "a", "b", "c")
INPUTS = {"linear": 3, "slerp": 2, "task_arithmetic": 4, "dare_ties": 4, "ties": 4}
COPY = """
import os, sys
*sources, target = sys.argv[1:]
buffer = bytearray(1 << 20)
view = memoryview(buffer)
with open(target, "wb", buffering=0) as out:
    for k, source in enumerate(sources):
        with open(source, "rb", buffering=0) as file:
            while got := file.readinto(buffer):
                if k == 0:
                    out.write(view[:got])
    os.fsync(out.fileno())
"""
OURS = """
import sys
from agora.weight import merge
merge(sys.argv[1], sys.argv[2], threads=int(sys.argv[3]))
"""
THEIRS = """
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
recipe = MergeConfiguration.model_validate(yaml.safe_load(open(sys.argv[1])))
quiet = MergeOptions(copy_tokenizer=False, write_model_card=False, lazy_unpickle=True, quiet=True)
run_merge(recipe, sys.argv[2], quiet)
"""


def make(folder: Path, layers: int) -> int:
    """Four checkpoints; number of parameters of each."""
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for i in range(layers):
        prefix = f"model.layers.{i}."
        for name in "qkvo":
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (WIDTH, WIDTH)
        for name in ("gate", "up"):
            shapes[f"{prefix}mlp.{name}_proj.weight"] = (INNER, WIDTH)
        shapes[f"{prefix}mlp.down_proj.weight"] = (WIDTH, INNER)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{name}.weight"] = (WIDTH,)
    shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw, files = np.random.default_rng(1), []
    for model in MODELS:
        (folder / model).mkdir()
        (folder / model / "config.json").write_text(json.dumps(config))
        files.append((folder / model / "model.safetensors").open("wb"))
        files[-1].write(len(text).to_bytes(8, "little") + text)
    for shape in shapes.values():
        base = draw.standard_normal(int(np.prod(shape)), dtype=np.float32) * np.float32(0.02)
        for k, file in enumerate(files):
            values = base if k == 0 else base + draw.standard_normal(len(base), dtype=np.float32) * np.float32(1e-3)
            file.write(_bf16(values).tobytes())
    for file in files:
        file.close()
    return place // 2


def _bf16(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def recipe(method: str) -> dict[str, Any]:
    """In mergekit's form, which both read."""
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    listed = [{"model": m, "parameters": {"weight": w}} for m, w in weights.items()]
    made: dict[str, Any] = {"merge_method": method, "dtype": "bfloat16", "models": listed}
    if method == "slerp":
        made |= {"models": [{"model": "a"}, {"model": "b"}], "base_model": "a", "parameters": {"t": 0.4}}
    elif method != "linear":
        made["base_model"] = "base"
        if method != "task_arithmetic":
            made["parameters"] = {"density": 0.5}
    return made


def measure(command: list[str], where: Path, **environment: str) -> dict[str, float]:
    """CPU and wall seconds of a command, and the most private memory, in GB, that it had."""
    peak, over = [0], threading.Event()
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | environment
    )

    def watch() -> None:
        while not over.wait(0.02):
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak[0] = max(peak[0], *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
            except (OSError, ValueError):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    over.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(said.decode()[-2000:])
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "sys_s": usage.ru_stime, "wall_s": wall, "gb": peak[0] / 1e6}


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians, and the spread of the CPU seconds."""
    found = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return found | {"cpu_low": min(run["cpu_s"] for run in runs), "cpu_high": max(run["cpu_s"] for run in runs)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="*", default=list(INPUTS), choices=list(INPUTS))
    parser.add_argument(
        "--compiled", default="both", choices=["both", "on", "off"], help="with numba, without, or both"
    )
    parser.add_argument("--mergekit", metavar="PYTHON", help="an interpreter that has mergekit; once a method")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    ways = {"both": {"agora": "0", "compiled": "1"}, "on": {"compiled": "1"}, "off": {"agora": "0"}}[given.compiled]
    if importlib.util.find_spec("numba") is None:
        ways.pop("compiled", None)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        parameters = make(folder, given.layers)
        paths = [str(folder / model / "model.safetensors") for model in MODELS]
        out = folder / "out"

        def timed(command: list[str], **environment: str) -> dict[str, float]:
            try:
                return measure(command, folder, **environment)
            finally:
                shutil.rmtree(out, ignore_errors=True)
                out.unlink() if out.is_file() else None

        timed([sys.executable, "-c", COPY, *paths, str(out)])
        floors: dict[int, list[dict[str, float]]] = {n: [] for n in sorted({INPUTS[m] for m in given.methods})}
        ours: dict[tuple[str, str], list[dict[str, float]]] = {(m, way): [] for m in given.methods for way in ways}
        for method in given.methods:
            (folder / f"{method}.yaml").write_text(json.dumps(recipe(method)))
        if "compiled" in ways:  # what a machine's first compiled merge takes longer; then what each does
            for what in ("compile", "load"):
                command = [sys.executable, "-c", "import agora.weight.compiled"]
                found = timed(command, NUMBA_CACHE_DIR=str(folder / "kernels"))
                rows.append({"what": what, "by": "compiled", **middle([found])})
            timed([sys.executable, "-c", "import agora.weight.compiled"])
        for _ in range(given.repeat):  # in turn, so that what else this machine does falls on all alike
            for n, held in floors.items():
                held.append(timed([sys.executable, "-c", COPY, *paths[-n:], str(out)]))
            for (method, way), held in ours.items():
                command = [sys.executable, "-c", OURS, str(folder / f"{method}.yaml"), str(out), str(given.threads)]
                held.append(timed(command, AGORA_COMPILED=ways[way]))
        for n, held in floors.items():
            rows.append({"what": f"copy {n}", "by": "floor", **middle(held)})
        for (method, way), held in ours.items():
            row = {"what": method, "by": way, **middle(held)}
            floor = next(r for r in rows if r["what"] == f"copy {INPUTS[method]}")
            rows.append(row | {"of_floor": row["cpu_s"] / floor["cpu_s"]})
        for method in given.methods if given.mergekit else ():
            theirs = middle([timed([given.mergekit, "-c", THEIRS, str(folder / f"{method}.yaml"), str(out)])])
            for row in (r for r in rows if r["what"] == method):
                row["times_less"] = theirs["cpu_s"] / row["cpu_s"]
            rows.append({"what": method, "by": "mergekit", **theirs})
    if given.json:
        print(json.dumps({"parameters": parameters, "repeat": given.repeat, "rows": rows}))
        return
    print(f"{parameters / 1e9:.3f}B parameters in bfloat16; median of {given.repeat} runs (mergekit: one)\n")
    print(f"{'what':16} {'by':9} {'CPU s':>7} {'(spread)':>13} {'system':>7} {'wall s':>7} {'GB':>5} {'x floor':>8}"
          f" {'mergekit / agora':>17}")  # fmt: skip
    for r in rows:
        spread = f"{r['cpu_low']:.2f}-{r['cpu_high']:.2f}"
        floor = f"{r['of_floor']:.2f}" if "of_floor" in r else ""
        less = f"{r['times_less']:.1f}" if "times_less" in r else ""
        print(f"{r['what']:16} {r['by']:9} {r['cpu_s']:7.2f} {spread:>13} {r['sys_s']:7.2f} {r['wall_s']:7.2f} "
              f"{r['gb']:5.2f} {floor:>8} {less:>17}")  # fmt: skip


if __name__ == "__main__":
    main()
