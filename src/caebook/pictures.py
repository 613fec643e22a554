"""Pictures in files: 28 × 28 grey levels as PNG, IDX or NumPy's own format.

What a file is shows in its first bytes, whatever its name says. A folder holds one PNG
file for each picture, in the order of their names. Files are written under a temporary
name and appear whole, or not at all.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from caebook.idx import DataError, IdxFile, read_idx

SIDE = 28
FORMATS = ("png", "idx", "npy")
MAX_IMAGES = 1_000_000  # in an IDX file, which is read into memory: 784 MB

_PNG, _NPY, _IDX, _GZIP = b"\x89PNG", b"\x93NUM", b"\0\0\x08\x03", b"\x1f\x8b"


# --- reading ----------------------------------------------------------------------


def read_pictures(paths: Sequence[Path]) -> np.ndarray:
    """Read one file or folder, or several PNG files.

    Returns
    -------
    ndarray of uint8, shape (N, 28, 28)
        One or more; a memory map if they come from an NPY file.

    Raises
    ------
    DataError
        If something cannot be read or is no 28 × 28 picture in 8-bit grey.
    """
    if len(paths) == 1:
        path = paths[0]
        if path.is_dir():
            return _read_folder(path)
        kind = _kind(path)
        if kind != "png":
            images = _read_npy(path) if kind == "npy" else _read_idx(path)
            if len(images) == 0:
                raise DataError(f"{path}: holds no pictures")
            return images
    for path in paths:
        if path.is_dir() or _kind(path) != "png":
            raise DataError(
                f"{path}: is no PNG file; several PNG files can be given at once, but "
                "only one folder, IDX or NPY file"
            )
    return np.stack([_read_png(path) for path in paths])


def _kind(path: Path) -> str:
    """What a file is by its first bytes, one of `FORMATS`."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == _GZIP:
            with gzip.open(path) as file:
                start = file.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    kinds = {_PNG: "png", _NPY: "npy", _IDX: "idx"}
    if start not in kinds:
        raise DataError(
            f"{path}: is neither a PNG nor an NPY file nor an IDX file of pictures"
        )
    return kinds[start]


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
    )


def _read_folder(folder: Path) -> np.ndarray:
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not paths:
        raise DataError(f"{folder}: holds no files")
    for path in paths:
        if path.is_dir() or _kind(path) != "png":
            raise DataError(
                f"{folder}: holds PNG files only if it is to be one set of pictures, "
                f"but {path.name} is none; take it out, or name the files to use"
            )
    return np.stack([_read_png(path) for path in paths])


def _read_png(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE) or image.mode not in ("L", "1"):
                width, height = image.size
                raise DataError(
                    f"{path}: is {width}×{height} pixels of mode {image.mode}, and "
                    f"pictures here are {SIDE}×{SIDE} pixels in 8-bit grey (mode L); "
                    "convert it first"
                )
            return np.array(image.convert("L"))
    except _PNG_ERRORS as error:
        raise _unreadable(path, error) from error


# What damaged files make Pillow raise.
_PNG_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def _read_npy(path: Path) -> np.ndarray:
    try:
        images = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise _unreadable(path, error) from error
    if images.shape == (SIDE, SIDE):
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{path}: holds {images.dtype} of shape {images.shape}, and pictures here "
            f"are uint8 of shape (N, {SIDE}, {SIDE})"
        )
    return images


def _read_idx(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == _GZIP
        with gzip.open(path) if gzipped else path.open("rb") as file:
            header = file.read(16)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    if len(header) < 16:
        raise DataError(f"{path}: truncated: only {len(header)} bytes")
    count, height, width = struct.unpack(">3I", header[4:])
    if (height, width) != (SIDE, SIDE):
        raise DataError(
            f"{path}: holds pictures of {width}×{height} pixels, and pictures here are "
            f"{SIDE}×{SIDE}"
        )
    if count > MAX_IMAGES:
        raise DataError(
            f"{path}: declares {count:,} pictures, more than {MAX_IMAGES:,}; store so "
            "many as an NPY file, which need not be read at once"
        )
    return read_idx(path, IdxFile(path.name, (count, SIDE, SIDE)))


# --- writing ----------------------------------------------------------------------


@contextmanager
def replacing(path: Path, force: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when it is complete.

    Parameters
    ----------
    path : Path
    force : bool
        Replace what is there.

    Raises
    ------
    DataError
        If there is such a file already, or it cannot be written. Nothing is left
        behind.
    """
    check_free(path, force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        _remove(part)


def check_free(path: Path, force: bool = False) -> None:
    """Raise DataError if there is something at `path` that must not be replaced."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not force:
        raise DataError(f"{path}: exists; choose another name, or add --force")


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be written ({error.strerror or error}); free some space, or "
        "choose another place"
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is gone or was never there
        pass


def write_pictures(
    path: Path,
    kind: str,
    count: int,
    parts: Iterable[np.ndarray],
    force: bool = False,
) -> None:
    """Write pictures as they come.

    Parameters
    ----------
    path : Path
        A file; a folder if there are several pictures as PNG.
    kind : str
        One of `FORMATS`.
    count : int
        How many pictures there will be, 1 or more.
    parts : iterable of uint8 arrays, shape (some, 28, 28)
    force : bool
        Replace files that are there.

    Raises
    ------
    DataError
        If something is in the way, or cannot be written. Nothing is left behind.
    """
    if kind == "png" and count > 1:
        _write_folder(path, count, parts, force)
        return
    with replacing(path, force) as file:
        if kind == "png":
            (image,) = parts
            Image.fromarray(image[0]).save(file, "PNG")
            return
        shape = (count, SIDE, SIDE)
        if kind == "npy":
            about = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
        else:
            file.write(IdxFile(path.name, shape).header)
        for part in parts:
            file.write(part.data)


def check_folder_free(folder: Path, force: bool = False) -> None:
    """Raise DataError if PNG files must not be put into `folder`."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file, and several PNG files need a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise DataError(
            f"{folder}: is a folder with files in it; choose another name, or add "
            "--force to replace those of the same names"
        )


def _write_folder(
    folder: Path, count: int, parts: Iterable[np.ndarray], force: bool
) -> None:
    """Write numbered PNG files: all of them beside the folder first, then into it."""
    check_folder_free(folder, force)
    digits, number, staging = len(str(count - 1)), 0, None
    try:
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        for part in parts:
            for image in part:
                path = staging / f"{number:0{digits}d}.png"
                Image.fromarray(image).save(path, "PNG")
                number += 1
        if folder.is_dir() and any(folder.iterdir()):
            for path in sorted(staging.iterdir()):
                os.replace(path, folder / path.name)
        else:
            staging.chmod(0o777 & ~_umask())
            os.replace(staging, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    """The process's mask; there is no way to read it but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
