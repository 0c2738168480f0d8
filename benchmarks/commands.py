"""Commands as other scripts of this folder run them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from videomamba.schema import VideoMambaError


def videomamba(command: Sequence[object], *, processes: int = 1) -> str:
    """What `videomamba` with these arguments prints, run in several `processes` where that is asked for.

    Raises VideoMambaError where the command fails; its own message is on stderr.
    """
    words = [str(word) for word in command]
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", "--nproc-per-node", str(processes), "--standalone", "-m"]
    done = subprocess.run([*program, "videomamba", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise VideoMambaError(f"`videomamba {shlex.join(words)}` failed, see above")
    return done.stdout


@dataclass(frozen=True)
class Watched:
    """What a process printed, its `seconds`, and the largest resident `memory` that it had, in bytes."""

    output: str
    seconds: float
    memory: int


def watched(command: Sequence[str]) -> Watched:
    """Runs `command` in a process of its own. Raises VideoMambaError where it fails; its own message is on stderr."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise VideoMambaError(f"`{shlex.join(command)}` failed, see above")
    return Watched(output, time.perf_counter() - started, 1024 * used.ru_maxrss)  # kilobytes on Linux
