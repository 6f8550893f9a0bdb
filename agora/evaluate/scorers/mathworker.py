"""The process that compares expressions: reads pairs of them as JSON lines, writes true or false for each."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import Any

MEMORY = 4 << 30  # bytes of address space: powers of powers fill any


def equal(truth: str, answer: str) -> bool:
    """Whether math-verify finds two expressions equal."""
    from math_verify import parse, verify

    left: Any = parse(f"${truth}$")
    right: Any = parse(f"${answer}$")
    return bool(left and right and verify(left, right))


def main() -> None:
    """Compare until there is no more to read."""
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    import math_verify  # noqa: F401  what takes long or fails does so before it is ready

    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        try:
            said = equal(*json.loads(line))
        except Exception:  # whatever it is, the next pair may do
            said = False
        out.write(json.dumps(said) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
