"""Reading and checking all files of a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caebook.data.folders import find_file
from caebook.data.idx import idx_sha256, read_idx
from caebook.data.registry import IdxFile, RealData
from caebook.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What the files of a data set hold, and their checksums.

    Attributes
    ----------
    arrays : list of ndarray of uint8
        Images (N, 28, 28) and labels (N,), in turn.
    checksums : dict of Path to str
        The files and the sha256 of their uncompressed bytes.
    sha256 : str
        Of the uncompressed bytes of all files, one after the other.
    """

    arrays: list[np.ndarray]
    checksums: dict[Path, str]
    sha256: str


def read_files(folder: Path, files: Sequence[IdxFile], remedy: str) -> Contents:
    """Read and check files as they are.

    Parameters
    ----------
    folder : Path
        Where the files are, raw or gzipped.
    files : sequence of IdxFile
        What they have to be.
    remedy : str
        What an error message advises.

    Returns
    -------
    Contents

    Raises
    ------
    DataError
        If a file is missing, damaged or not what it has to be.
    """
    paths = [find_file(folder, file) or folder / file.name for file in files]
    arrays = [
        read_idx(path, file, remedy=remedy)
        for path, file in zip(paths, files, strict=True)
    ]
    # A file that has a known checksum was just found to match it.
    checksums = {
        path: file.sha256 or idx_sha256(array)
        for path, file, array in zip(paths, files, arrays, strict=True)
    }
    return Contents(arrays, checksums, idx_sha256(*arrays))


def read_real(real: RealData, folder: Path, remedy: str) -> Contents:
    """Read a real data set: upright images and labels that count from 0.

    Parameters
    ----------
    real : RealData
        Its files and how to read them.
    folder, remedy
        As in `read_files`.

    Returns
    -------
    Contents
        The checksums are those of the files as they are.

    Raises
    ------
    DataError
        If a file is missing, damaged or not what it has to be.
    """
    contents = read_files(folder, real.files, remedy)
    paths, arrays = list(contents.checksums), contents.arrays
    for images in range(0, len(arrays), 2):
        labels = images + 1
        if real.transposed:
            arrays[images] = np.ascontiguousarray(arrays[images].transpose(0, 2, 1))
        arrays[labels] = _zero_based(arrays[labels], paths[labels], real)
    return contents


def unsound_files(folder: Path, files: Sequence[IdxFile]) -> list[IdxFile]:
    """List the files that are missing from a folder or damaged; warn of the damaged."""
    unsound = []
    for file in files:
        path = find_file(folder, file)
        if path is None:
            unsound.append(file)
            continue
        try:
            read_idx(path, file, remedy="it is downloaded again")
        except DataError as error:
            logger.warning("%s", error)
            unsound.append(file)
    return unsound


def _zero_based(labels: np.ndarray, path: Path, real: RealData) -> np.ndarray:
    """Check the range of labels, and count them from 0."""
    first = real.first_label
    last = first + len(real.classes) - 1
    if labels.min() < first or labels.max() > last:
        raise DataError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, expected "
            f"{first} to {last}; replace it with the original file"
        )
    return labels - np.uint8(first)
