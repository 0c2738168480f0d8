"""Commands of `videomamba` as other scripts of this folder run them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

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
