"""Pictures in files: 28 × 28 grey levels as PNG, IDX or NumPy's own format.

What a file is shows in its first bytes, whatever its name says. A folder holds one PNG
file for each picture, in the order of their names. Files are written under a temporary
name and appear whole, or not at all.

Paths are asked with `os.path`, which takes what cannot be reached for absent; opening
it then says why.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from caebook.data.idx import IdxFile, read_idx
from caebook.errors import DataError
from caebook.images import SIDE

#: Images that a file may declare without being asked for: 784 MB of them.
MAX_IMAGES = 1_000_000

_PNG, _NPY, _IDX, _GZIP = b"\x89PNG", b"\x93NUM", b"\0\0\x08\x03", b"\x1f\x8b"


# --- reading ----------------------------------------------------------------------


def read_pictures(
    paths: Sequence[Path], progress: Callable[[int], object] | None = None
) -> np.ndarray:
    """Read one file or folder, or several PNG files.

    Parameters
    ----------
    paths : sequence of Path
        One or more.
    progress : callable, optional
        Is told how many more PNG files are read; other files take no time.

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
        if os.path.isdir(path):
            return _read_pngs(_folder(path), progress, _FOLDER)
        kind = _kind(path)
        if not kind:
            raise DataError(
                f"{path}: is neither a PNG nor an NPY file nor an IDX file of pictures"
            )
        if kind != "png":
            images = _read_npy(path) if kind == "npy" else _read_idx(path)
            if len(images) == 0:
                raise DataError(f"{path}: holds no pictures")
            return images
    return _read_pngs(paths, progress, _SEVERAL)


_FOLDER = "a folder is one set of pictures if it holds nothing else; take this out"
_SEVERAL = "of other files and folders, give one at a time"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, one that can be sought.

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
        raise _unreadable(path, error) from error
    with file:
        yield file


def _kind(path: Path) -> str:
    """What a file is by its first bytes: "png", "npy", "idx", or "" if none of them."""
    try:
        with opened(path) as file:
            start = file.read(4)
            if start[:2] == _GZIP:
                file.seek(0)
                if gzip.GzipFile(fileobj=file).read(4) == _IDX:
                    return "idx"
                raise DataError(f"{path}: is gzipped, and only IDX files may be")
    except _GZIP_ERRORS as error:
        raise _unreadable(path, error) from error
    return {_PNG: "png", _NPY: "npy", _IDX: "idx"}.get(start, "")


_GZIP_ERRORS = (OSError, EOFError, zlib.error)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
    )


def _folder(folder: Path) -> list[Path]:
    """What is in a folder, in the order of the names; not what is hidden."""
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not paths:
        raise DataError(f"{folder}: holds no files")
    return paths


def _read_pngs(
    paths: Sequence[Path], progress: Callable[[int], object] | None, remedy: str
) -> np.ndarray:
    images = np.empty((len(paths), SIDE, SIDE), np.uint8)
    for image, path in zip(images, paths, strict=True):
        if os.path.isdir(path) or _kind(path) != "png":
            raise DataError(f"{path}: is no PNG file; {remedy}")
        image[:] = _read_png(path)
        if progress is not None:
            progress(1)
    return images


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
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{path}: is animated; store each picture by itself")
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
    if images.offset + images.nbytes != os.path.getsize(path):
        raise DataError(f"{path}: holds more than one array; store each by itself")
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
        with opened(path) as file:
            gzipped = file.read(2) == _GZIP
            file.seek(0)
            header = (gzip.GzipFile(fileobj=file) if gzipped else file).read(16)
    except _GZIP_ERRORS as error:
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
    part = _beside(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, os.path.realpath(path))
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        _remove(part)


def check_free(path: Path, force: bool = False) -> None:
    """Raise DataError if there is something at `path` that must not be replaced."""
    if os.path.isdir(path):
        raise DataError(f"{path}: is a folder; give the name of a file")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise DataError(
            f"{path}: is a pipe, a device or a link to nothing; give the name of a file"
        )
    if os.path.lexists(path) and not force:
        raise DataError(f"{path}: exists; choose another name, or add --force")


def _beside(path: Path) -> Path:
    """Where to write until all is done: beside what a link leads to."""
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}.{os.getpid()}.part")


def _unwritable(path: Path, error: OSError) -> DataError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if error.errno == errno.ENOENT:
        remedy = "make that folder first"
    else:
        remedy = f"{'free some space, or ' if full else ''}choose another place"
    return DataError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


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
        What to write.
    kind : str
        "png", "idx" or "npy" for a file, or "folder" for PNG files in one.
    count : int
        How many pictures there will be, 1 or more; exactly 1 in a PNG file.
    parts : iterable of uint8 arrays, shape (some, 28, 28)
    force : bool
        Replace files that are there.

    Raises
    ------
    DataError
        If something is in the way, or cannot be written. Nothing is left behind.
    """
    if kind == "folder":
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
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise DataError(f"{folder}: exists, and is no folder to put PNG files into")
    if _holds_files(folder) and not force:
        raise DataError(
            f"{folder}: is a folder with files in it; choose another name, or add "
            "--force to replace those of the same names"
        )


def _holds_files(folder: Path) -> bool:
    try:
        return os.path.isdir(folder) and any(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error


def _write_folder(
    folder: Path, count: int, parts: Iterable[np.ndarray], force: bool
) -> None:
    """Write numbered PNG files: all of them beside the folder first, then into it."""
    check_folder_free(folder, force)
    digits, number, staging = len(str(count - 1)), 0, _beside(folder)
    try:
        staging.mkdir()
        for part in parts:
            for image in part:
                path = staging / f"{number:0{digits}d}.png"
                Image.fromarray(image).save(path, "PNG")
                number += 1
        if _holds_files(folder):
            for path in sorted(staging.iterdir()):
                os.replace(path, folder / path.name)
        else:
            os.replace(staging, os.path.realpath(folder))
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
