"""Images in one array: NPY and IDX files of 28 × 28 grey levels."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caebook.codec.container import MAX_IMAGES
from caebook.errors import DataError
from caebook.images import SIDE

GZIP_MAGIC = b"\x1f\x8b"
GZIP_ERRORS = (OSError, EOFError, zlib.error)  # what reading a damaged file raises


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, one that is seekable.

    Raises
    ------
    DataError
        If it cannot be opened, or is a folder, a pipe or a device.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
        raise DataError(f"{path}: cannot be read (it is {kind}); give a file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        yield file


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file or folder that cannot be read."""
    return DataError(
        f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
    )


def read_npy(path: Path) -> np.ndarray:
    """Read an NPY file of uint8, shape (N, 28, 28) or (28, 28), as a memory map.

    Returns
    -------
    ndarray of uint8, shape (N, 28, 28)

    Raises
    ------
    DataError
        If it cannot be read or holds anything else.
    """
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise unreadable(path, error) from error
    if images.offset + images.nbytes != os.path.getsize(path):
        raise DataError(f"{path}: holds more than one array; store each by itself")
    if images.shape == (SIDE, SIDE):
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{path}: holds {images.dtype} of shape {images.shape}, and images here "
            f"are uint8 of shape (N, {SIDE}, {SIDE}); {_remedy(path, images)}"
        )
    if len(images) == 0:
        raise DataError(f"{path}: holds no images")
    return images


def _remedy(path: Path, array: np.ndarray) -> str:
    """How an array becomes images: a line of NumPy, where there is one."""
    if array.ndim == 1 and len(array) != SIDE * SIDE:
        return "labels are not compressed: give the file of the images"
    shape, levels = _shaped(array.shape), _scaled(array)
    if shape is None or levels is None or array.size == 0:
        return "convert it first"
    new = path.with_name(f"{path.stem}-uint8.npy").name
    expression = levels.format(f"np.load({path.name!r}){shape}")
    return f"convert it with: np.save({new!r}, {expression})"


def _shaped(shape: tuple[int, ...]) -> str | None:
    """What brings an array to the shape (N, 28, 28), as Python text."""
    if shape == (SIDE, SIDE) or (len(shape) == 3 and shape[1:] == (SIDE, SIDE)):
        return ""
    if len(shape) == 4 and shape[1:] == (SIDE, SIDE, 1):
        return "[..., 0]"
    if len(shape) == 4 and shape[1:] == (1, SIDE, SIDE):
        return "[:, 0]"
    if shape == (SIDE * SIDE,) or (len(shape) == 2 and shape[1] == SIDE * SIDE):
        return f".reshape(-1, {SIDE}, {SIDE})"
    if len(shape) == 3 and shape[:2] == (SIDE, SIDE):
        return ".transpose(2, 0, 1)"
    return None


def _scaled(array: np.ndarray) -> str | None:
    """What brings an array's values to uint8, 0 to 255: Python text around "{}"."""
    if array.dtype == np.uint8:
        return "{}"
    if array.dtype == bool:
        return "255 * {}.astype(np.uint8)"
    if array.dtype.kind not in "iuf" or array.size == 0:
        return None
    low, high = array.min(), array.max()  # NaN if there is one, which fails below
    if array.dtype.kind in "iu":
        return "{}.astype(np.uint8)" if low >= 0 and high <= 255 else None
    if low >= 0 and high <= 1:
        return "np.rint(255 * {}).astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "np.rint({}).astype(np.uint8)"
    if low >= -1 and high <= 1:
        return "np.rint(127.5 * ({} + 1)).astype(np.uint8)"
    return None


#: What the third byte of an IDX file tells about its values.
_IDX_TYPES = {
    8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64",
}  # fmt: skip


def idx_problem(path: Path, start: bytes) -> str:
    """Why an IDX file with these first four bytes holds no images; "" otherwise."""
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES:
        return ""
    if start[2:] == b"\x08\x03":
        return ""
    if start[2:] == b"\x08\x01":
        return (
            f"{path}: is an IDX file of labels; give the file of the images, which has "
            "“images-idx3” in its name"
        )
    return (
        f"{path}: is an IDX file of {_IDX_TYPES[start[2]]} with {start[3]} axes, and "
        "images here are uint8 with 3 axes"
    )


def read_idx_images(path: Path) -> np.ndarray:
    """Read an IDX file of 28 × 28 images, gzipped or not.

    Returns
    -------
    ndarray of uint8, shape (N, 28, 28)

    Raises
    ------
    DataError
        If it cannot be read, is damaged or holds anything else.
    """
    from caebook.data.idx import IdxFile, read_idx  # `caebook.data` loads slowly

    try:
        with opened(path) as file:
            gzipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            header = (gzip.GzipFile(fileobj=file) if gzipped else file).read(16)
    except GZIP_ERRORS as error:
        raise unreadable(path, error) from error
    if len(header) < 16:
        raise DataError(f"{path}: truncated: only {len(header)} bytes")
    count, height, width = struct.unpack(">3I", header[4:])
    if (height, width) != (SIDE, SIDE):
        raise DataError(
            f"{path}: holds images of {width}×{height} pixels, and images here are "
            f"{SIDE}×{SIDE}"
        )
    if count == 0:
        raise DataError(f"{path}: holds no images")
    if count > MAX_IMAGES:
        raise DataError(
            f"{path}: declares {count:,} images, more than {MAX_IMAGES:,}; store so "
            "many as an NPY file, which is read in parts"
        )
    return read_idx(path, IdxFile(path.name, (count, SIDE, SIDE)))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of an NPY file of uint8."""
    import io

    file = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of uint8."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
