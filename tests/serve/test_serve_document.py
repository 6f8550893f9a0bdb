"""The published OpenAPI document: schemathesis holds the running server to it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx2
from agora_server import SCRIPTED, agora_serve


def test_the_server_does_what_its_document_says(tmp_path: Path) -> None:
    with agora_serve(tmp_path, text=re.sub("  slow.*\n", "", SCRIPTED)) as server:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
            "--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing", "--workers", "1",
            "--exclude-checks", "positive_data_acceptance,not_a_server_error",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:]
        assert server.process.poll() is None
        counted = httpx2.get(f"{server.url}/metrics").text
        assert 'status="500"' not in counted  # 502 is a model that gives no JSON where JSON was asked for
        for api in ("chat", "messages"):  # it has asked the models, too
            for model, status in (("duo", "200"), ("", "400")):
                assert f'agora_requests_total{{api="{api}",model="{model}",status="{status}"}}' in counted, counted
