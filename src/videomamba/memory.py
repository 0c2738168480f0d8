"""How the C library of the process returns memory to the system."""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
_LARGE_BYTES = 2**20


def return_large_blocks() -> bool:
    """From now on freed blocks of a megabyte and more return to the system instead of staying in glibc's heap.

    Recomputation in the backward pass frees many blocks between blocks that stay. That fragments the heap: a step of
    VideoMamba-Ti at 64 frames held four times the memory in use. The cost is a few percent of the time, because the system
    provides new memory page by page. Returns False with another C library.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
    return False
