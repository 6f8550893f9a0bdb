"""Files that are broken or lie, disks that are full, merges that are killed: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from agora.errors import InputError
from agora.weight import Checkpoint, merge
from agora.weight.header import read_header


def written(path: Path, header: Any, body: bytes = b"", size: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + body)
    return path


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


CASES: dict[str, tuple[Any, bytes, str]] = {
    "no header": (b"", b"", "header cannot be read"),
    "no json": (b"{]", b"", "header cannot be read"),
    "a list": ([], b"", "is no mapping"),
    "deep": (b"[" * 100_000, b"", "header cannot be read"),
    "no utf-8": (b'{"\xff": 1}', b"", "header cannot be read"),
    "twice": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
              b'"data_offsets":[0,4]}}', bytes(4), "'a' stands twice"),
    "twice within": (b'{"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}}', bytes(4), "stands twice"),
    "10 GB in 1 KB": ({"a": tensor(0, 10_000_000_000, [2_500_000_000])}, bytes(1000), "cut short"),
    "truncated": ({"a": tensor(0, 8, [2])}, bytes(7), "cut short"),
    "overlap": ({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12), "overlaps"),
    "the same bytes": ({"a": tensor(0, 8, [2]), "b": tensor(0, 8, [2])}, bytes(8), "overlaps"),
    "a hole": ({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12), "hole"),
    "a tail": ({"a": tensor(0, 4, [1])}, bytes(12), "belong to none"),
    "shape and bytes": ({"a": tensor(0, 8, [3])}, bytes(8), "its shape takes another"),
    "shapes overflow": ({"a": tensor(0, 8, [2**62, 2**62])}, bytes(8), "its shape takes another"),
    "negative shape": ({"a": tensor(0, 8, [-1, -2])}, bytes(8), "shape that is none"),
    "true shape": ({"a": tensor(0, 4, [True])}, bytes(4), "shape that is none"),  # type: ignore[list-item]
    "no integer": ({"a": tensor(0, 4, [1.0])}, bytes(4), "shape that is none"),  # type: ignore[list-item]
    "many dimensions": ({"a": tensor(0, 4, [1] * 100)}, bytes(4), "shape that is none"),
    "negative offsets": ({"a": tensor(-4, 0, [1])}, bytes(4), "offsets that are none"),
    "reversed offsets": ({"a": tensor(4, 0, [1])}, bytes(4), "its shape takes another"),
    "unknown type": ({"a": tensor(0, 4, [1], "F31")}, bytes(4), "cannot read"),
    "more keys": ({"a": tensor(0, 4, [1], extra=1)}, bytes(4), "nothing else"),
    "no mapping": ({"a": 3}, bytes(4), "nothing else"),
    "metadata": ({"__metadata__": 3, "a": tensor(0, 4, [1])}, bytes(4), "metadata is no mapping"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_headers(name: str, tmp_path: Path) -> None:
    header, body, wanted = CASES[name]
    with pytest.raises(InputError, match=wanted) as raised:
        Checkpoint(written(tmp_path / "model.safetensors", header, body).parent)
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)


def test_headers_that_claim_to_be_long(tmp_path: Path) -> None:
    for size, wanted in ((1_000_000, "cut short"), (2**63, "cut short"), (2**64 - 1, "cut short")):
        with pytest.raises(InputError, match=wanted):
            read_header(written(tmp_path / "a.safetensors", b"{}", size=size))
    (tmp_path / "b.safetensors").write_bytes(b"abc")
    with pytest.raises(InputError, match="cut short"):
        read_header(tmp_path / "b.safetensors")
    long = tmp_path / "c.safetensors"
    with long.open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(300_000_000)  # sparse
    with pytest.raises(InputError, match="claims 200,000,000 bytes"):
        read_header(long)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    for raw in (content, len(content).to_bytes(8, "little") + content):
        path.write_bytes(raw)
        try:
            read_header(path)
        except InputError:
            continue
        assert json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]) is not None


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    for given_ in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(InputError, match=r"pickle.*refused"):
            Checkpoint(given_)
    index = {"weight_map": {"w": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="pickle"):
        Checkpoint(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "..", "a/b.safetensors"])
def test_shards_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    small.model(tmp_path / "other", {"w": [1.0]})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(InputError, match="leads out of the folder"):
        Checkpoint(folder)


def test_links_stay_in_the_folder(tmp_path: Path) -> None:
    other = small.model(tmp_path / "other", {"w": [1.0]})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(other / "model.safetensors")
    with pytest.raises(InputError, match="leads out of the folder"):
        Checkpoint(folder)
    (folder / "model.safetensors").unlink()
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    (folder / "tokenizer.json").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="leads out of the folder"):
        merge({"passthrough": str(folder)}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_cache_of_hugging_face_is_made_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "hub" / "models--who--what"
    small.model(home / "blobs", {"w": [1.0]})
    snapshot = home / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / name)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    merge({"passthrough": "who/what"}, tmp_path / "out")
    assert small.content(tmp_path / "out")["w"].tolist() == [1.0]
    with pytest.raises(InputError, match="hf download who/else"):
        merge({"passthrough": "who/else"}, tmp_path / "out2")


def test_indices_that_lie(tmp_path: Path) -> None:
    folder = small.model(tmp_path / "m", {"a": [1.0], "b": [2.0]}, shards=2)
    index = folder / "model.safetensors.index.json"
    good = index.read_text()
    for bad, wanted in (
        (good.replace('"a"', '"c"'), "'c' is missing"),
        ('{"weight_map": {"a": "none.safetensors"}}', "no file"),
        ('{"weight_map": {"a": 3}}', "in no file"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": {"a": "part-0.safetensors", "a": "part-1.safetensors"}}', "stands twice"),
        ("[]", "no mapping"),
        ("{", "not JSON"),
    ):
        index.write_text(bad)
        with pytest.raises(InputError, match=wanted):
            Checkpoint(folder)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    folder = small.model(tmp_path / "m", {"a": np.zeros(1000)})
    with Checkpoint(folder) as held:
        os.truncate(folder / "model.safetensors", 2000)
        with pytest.raises(InputError, match="cut short while"):
            held.tensor("a")


def test_what_is_there_stays(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": [1.0]})
    out = small.model(tmp_path / "out", {"w": [7.0]})
    with pytest.raises(InputError, match="is there already"):
        merge({"passthrough": str(a)}, out)
    assert small.content(out)["w"].tolist() == [7.0]
    merge({"passthrough": str(a)}, out, overwrite=True)
    assert small.content(out)["w"].tolist() == [1.0]
    with pytest.raises(InputError):  # a merge that fails leaves what was to be replaced
        merge({"linear": {str(a): 0}}, out, overwrite=True)
    assert small.content(out)["w"].tolist() == [1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_a_disk_with_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = small.model(tmp_path / "a", {"w": np.zeros(1000)})
    usage = namedtuple("usage", "total used free")(0, 0, 3000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"takes 4,000 bytes, but the disk has only 3,000 bytes left"):
        merge({"passthrough": str(a)}, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_disk_that_runs_full(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = small.model(tmp_path / "a", {"w": np.zeros(1000)})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match="not enough room on the disk"):
        merge({"passthrough": str(a)}, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": np.zeros(100_000)})
    code = (
        "import resource, signal, sys\nfrom agora.errors import InputError\nfrom agora.weight import merge\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    merge({'passthrough': sys.argv[1]}, sys.argv[2])\nexcept InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(a), str(tmp_path / "out")], capture_output=True, text=True)
    assert "not enough room on the disk" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """A real SIGKILL while tensors are written: nothing under the name, and the next merge clears up."""
    models = [small.model(tmp_path / f"m{i}", {f"t{k}": np.full(200_000, k + i) for k in range(20)}) for i in (0, 2)]
    out = tmp_path / "out"
    code = (
        "import sys, time\nfrom agora.weight import merge\n"
        "def tell(done, total):\n    print(done, flush=True)\n    time.sleep(0.02)\n"
        "merge({'linear': sys.argv[1:3]}, sys.argv[3], threads=2, progress=tell)\n"
    )
    command = [sys.executable, "-c", code, *map(str, models), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left) == 1
    assert left[0].startswith(f".out.{process.pid}.")
    assert left[0].endswith(".part")
    assert not out.exists()
    merge({"linear": [str(path) for path in models]}, out)
    assert small.content(out)["t7"].tolist() == [8.0] * 200_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m2", "out"]


def test_interrupted_leaves_nothing(tmp_path: Path) -> None:
    models = [small.model(tmp_path / f"m{i}", {f"t{k}": np.zeros(200_000) for k in range(20)}) for i in (0, 2)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for threads in (1, 3):
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            merge({"linear": [str(path) for path in models]}, tmp_path / "out", threads=threads, progress=stop)
        assert time.monotonic() - begun < 60
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m2"]


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": np.zeros(1000), "v": np.zeros(500)})
    told: list[tuple[int, int]] = []
    merge({"linear": [str(a)]}, tmp_path / "out", chunk=100, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (6000, 6000)
    assert len(told) == 15


def test_shards_of_the_output(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {f"t{k}": np.full(100, k) for k in range(7)})
    merge({"linear": [str(a)]}, tmp_path / "out", shard=1000)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert names == [f"model-0000{k}-of-00004.safetensors" for k in range(1, 5)]
    assert small.content(tmp_path / "out")["t6"].tolist() == [6.0] * 100
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2800


def test_what_comes_to_be_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": [1.0]})

    def other(done: int, total: int) -> None:
        small.model(tmp_path / "out", {"w": [7.0]})

    with pytest.raises(InputError, match="come to be"):
        merge({"passthrough": str(a)}, tmp_path / "out", progress=other)
    assert small.content(tmp_path / "out")["w"].tolist() == [7.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]
