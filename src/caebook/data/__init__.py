"""Data sets as uint8 arrays, with where they came from and a checksum."""

from caebook.data.datasets import (
    AUTO,
    NAMES,
    VALIDATION,
    Dataset,
    cache_folder,
    fetch,
    load,
    locate,
    read_letters_sample,
    resolve,
    verify,
)
from caebook.data.idx import read_idx
from caebook.errors import DataError, DownloadError

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
