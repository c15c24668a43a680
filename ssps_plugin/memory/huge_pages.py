"""Tables of many rows in huge pages, where Linux has them."""

import ctypes
import mmap

from torch import Tensor

_PAGE_BYTES = 1 << 21


def in_huge_pages(table: Tensor) -> Tensor:
    """Ask for huge pages for a table that was not written yet.

    A step reads and writes rows all over tables of gigabytes. In pages of 4
    KiB each of them waits for its page to be looked up first. Only a request:
    where there are no huge pages, nothing changes.

    Arguments
    ---------
    table : torch.Tensor
        New and not written, so that its memory has no pages yet.

    Returns
    -------
    torch.Tensor
        `table` itself.
    """
    start = -(-table.data_ptr() // _PAGE_BYTES) * _PAGE_BYTES
    end = (table.data_ptr() + table.nbytes) // _PAGE_BYTES * _PAGE_BYTES
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if table.device.type == "cpu" and advice is not None and end > start:
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)
    return table
