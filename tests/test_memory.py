"""Large blocks of memory return to the system if the C library supports it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

RESIDENT = """
import torch
from videomamba.memory import return_large_blocks

def resident():
    return 1024 * int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1])

if {told}:
    assert return_large_blocks()
before = resident()
pieces = [torch.ones(2**19) for _ in range(64)]  # 2 MB each; between them what stays
kept = [pieces[i] for i in range(0, 64, 16)]
torch.ones(2**24)  # glibc raises its threshold when such a block is freed
pieces = [torch.ones(2**19) for _ in range(64)]
kept += [pieces[i] for i in range(0, 64, 16)]
del pieces
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_between_what_stays_is_given_back() -> None:
    command = [sys.executable, "-c", RESIDENT.format(told=True)]
    held = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert held < 8 * 2**21 + 2**23  # the eight that are kept, and some
