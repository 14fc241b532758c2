"""Giving a mapped file's pages back, so that resident memory is what the runtime holds and not what it read.

A tensor kept as a view stays valid: its pages are read again when they are touched, and count again from then on.
"""

import mmap
from contextlib import suppress

from ullage.runtime.loading.source import Source
from ullage.runtime.loading.stored import Stored

_PAGE = mmap.PAGESIZE


def release(stored: Stored) -> None:
    """Drop the pages of one tensor after it was taken into its resident form; neighbours on the same page are read again when needed."""
    for span in stored.spans:
        begin = span.begin // _PAGE * _PAGE
        _drop(span.file.map, begin, span.end - begin)


def release_all(source: Source) -> None:
    """Drop every page of every file: headers, and what was read ahead."""
    for file in source.files:
        _drop(file.map, 0, len(file.map))


def _drop(whole: mmap.mmap, begin: int, nbytes: int) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):  # where there is none, the system takes clean pages when it needs them
        with suppress(OSError):
            whole.madvise(mmap.MADV_DONTNEED, begin, nbytes)
