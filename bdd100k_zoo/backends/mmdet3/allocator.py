"""glibc's allocator, told to keep the memory that a detector frees between one image and the next.

By default every tensor above some megabytes is mapped anew, zeroed page by page by the kernel, and given back.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

MALLOPT_PARAMETERS = {
    -3: 2**30,  # M_MMAP_THRESHOLD: smaller blocks come from the heap
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: the heap keeps its free end up to this
    -2: 2**26,  # M_TOP_PAD: and grows by this much more than is asked for
}
"""Parameters of mallopt(3) by their number in malloc.h, in bytes."""


@cache
def keep_freed_memory() -> bool:
    """Set it for the whole process, once, and say whether that was possible: with glibc alone.

    The process then keeps the most memory that it has needed, and some that is left over between blocks.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has a mallopt that does nothing, or none
        return False
    taken = [library.mallopt(parameter, value) == 1 for parameter, value in MALLOPT_PARAMETERS.items()]
    return all(taken)
