"""How the C library of the process hands memory back to the system."""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
_LARGE_BYTES = 2**20


def return_large_blocks() -> bool:
    """From now on memory of a megabyte and more goes back to the system when a tensor is freed, not into glibc's heap.

    Where much is freed between what stays, as by blocks that are computed again in the backward pass, the heap is full of
    holes that fit nothing: a step of VideoMamba-Ti at 64 frames held four times what was alive. New memory then costs a few
    percent of the time, for the system hands it out page by page. False where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
    return False
