"""The folder of an evaluation: the page, the tables, the records."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from agora.evaluate.measures.analysis import Analysis
from agora.evaluate.records import Results
from agora.evaluate.report.page import report
from agora.evaluate.report.table import markdown
from agora.evaluate.results_io import save, write


def publish(
    results: Results, analysis: Analysis, folder: str | Path, questions: Mapping[str, str] | None = None
) -> list[Path]:
    """Write an evaluation into a folder: `results.json` (all of it, from which the rest can be made again),
    `report.html`, `table.md`, `table.json`, `rows.jsonl`, and, where pyarrow is installed, `rows.parquet` and
    `rows.said.parquet`.

    Args:
        results: the evaluation.
        analysis: of it.
        folder: is made where it is not there; files in it are replaced.
        questions: item's id -> what was asked, for the report.

    Returns:
        The files, the page first.

    Raises:
        InputError: if they cannot be written.
    """
    folder = Path(folder)
    names = ["results.json", "rows.jsonl"]
    if importlib.util.find_spec("pyarrow") is not None:
        names += ["rows.parquet", "rows.said.parquet"]
    for name in names:  # the records first: they are what was paid for
        save(results, folder / name)
    texts = {
        "report.html": report(results, analysis, questions),
        "table.md": markdown(results, analysis),
        "table.json": json.dumps(analysis.to_json(), indent=1),
    }
    for name, text in texts.items():
        write(folder / name, text.encode())
    return [folder / name for name in (*texts, *names)]
