"""Keep freed memory for the next step, where a process trains on a CPU."""

import ctypes

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc not to hand large blocks back to the system at once.

    By default every activation above some size is mapped afresh in each step,
    and zeroed by the kernel page by page: a quarter of a small encoder's step
    on a CPU. Changes no result. Elsewhere than on glibc, nothing is done.

    Returns
    -------
    bool
        Whether the allocator was told.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    told = mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    return bool(told and mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES - 1))
