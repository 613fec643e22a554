"""Data sets as uint8 arrays, with where they came from and a checksum.

The names of the data sets are here at once; the functions, and with them NumPy, are
imported when they are first used.
"""

from typing import TYPE_CHECKING

from caebook.data.registry import AUTO, NAMES
from caebook.errors import DataError, DownloadError

if TYPE_CHECKING:
    from caebook.data.datasets import (
        VALIDATION,
        Dataset,
        cache_folder,
        fetch,
        load,
        locate,
        read_idx,
        read_letters_sample,
        resolve,
        verify,
    )

__all__ = [
    "AUTO",
    "NAMES",
    "VALIDATION",
    "DataError",
    "Dataset",
    "DownloadError",
    "cache_folder",
    "fetch",
    "load",
    "locate",
    "read_idx",
    "read_letters_sample",
    "resolve",
    "verify",
]


def __getattr__(name: str) -> object:
    """Import a public name from `caebook.data.datasets` when it is first used."""
    if name in __all__:
        from caebook.data import datasets

        return getattr(datasets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
