"""Make glibc's allocator keep the memory that a detector frees between one image and the next.

By default it maps every tensor above some megabytes anew, so that the kernel zeroes it page by page, and unmaps it when
it is freed.
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
"""Parameters of mallopt(3), in bytes, by their number in malloc.h."""


@cache
def keep_freed_memory() -> bool:
    """Configure the allocator of the process, once, and return whether that was possible: only with glibc.

    The process then keeps the peak of its memory, and some more because of fragmentation.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has a mallopt that does nothing, or none
        return False
    taken = [library.mallopt(parameter, value) == 1 for parameter, value in MALLOPT_PARAMETERS.items()]
    return all(taken)
