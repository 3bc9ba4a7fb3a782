"""Memory of the C library: what is freed stays with the process, to be used again.

By default glibc gives every large block back to the system when it is freed and asks for it again at the next
step; the system then clears each page of it once more. A training step on a CPU makes and drops many such
blocks.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of malloc.h
_LARGEST = 1 << 30  # bytes; blocks up to this size come from the heap
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees; whether that could be set (it can with glibc).

    The process then stays as large as it once was; it does not become larger than it would be.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(library.mallopt(_TRIM_THRESHOLD, _NEVER))
