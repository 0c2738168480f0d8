"""Several commands one after another in one process, as torchrun starts it: `python -m tests.cli.commands PLAN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from videomamba.cli import main


def run_all(commands: list[list[str]]) -> int:
    """The highest exit code."""
    codes = [0]
    for arguments in commands:
        try:
            main(arguments)
        except SystemExit as stopped:
            codes.append(int(stopped.code or 0))
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(run_all(json.loads(Path(sys.argv[1]).read_text())))
