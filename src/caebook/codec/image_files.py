"""Images in files: 28 × 28 grey levels as PNG, IDX or NPY.

The first bytes of a file tell its format, whatever its name. A folder holds one PNG
file for each image, in the natural order of their names: 2.png comes before 10.png.
Files are written whole or not at all.

Paths are tested with `os.path`, for which a path that cannot be reached does not exist;
opening it then gives the reason.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from caebook.codec.arrays import (
    GZIP_ERRORS,
    GZIP_MAGIC,
    idx_header,
    idx_problem,
    npy_header,
    opened,
    read_idx_images,
    read_npy,
    unreadable,
)
from caebook.codec.checks import first_names
from caebook.errors import DataError
from caebook.files import replacing_file, replacing_folder
from caebook.images import SIDE

_PNG, _NPY, _IDX = b"\x89PNG", b"\x93NUM", b"\0\0\x08\x03"


# --- reading ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, and the names of their files.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        One or more; a memory map if they come from an NPY file.
    names : list of str or None
        Of PNG files, one for each image; None for images from an array.
    """

    images: np.ndarray
    names: list[str] | None = None


def read_images(
    paths: Sequence[Path], progress: Callable[[int], object] | None = None
) -> ImageSet:
    """Read one file or folder, or several PNG files.

    Parameters
    ----------
    paths : sequence of Path
        One or more.
    progress : callable, optional
        Called with the number of PNG files just read; other files take no time.

    Returns
    -------
    ImageSet

    Raises
    ------
    DataError
        If something cannot be read or is not a 28 × 28 image in 8-bit grey.
    """
    if len(paths) == 1:
        path = paths[0]
        if os.path.isdir(path):
            return _read_pngs(_files_in(path), progress, _FOLDER)
        kind = _kind(path)
        if not kind:
            raise DataError(f"{path}: is not a PNG, an NPY or an IDX file of images")
        if kind != "png":
            return ImageSet(read_npy(path) if kind == "npy" else read_idx_images(path))
    return _read_pngs(paths, progress, _SEVERAL)


_FOLDER = "a folder of images must hold PNG files only; move this file out of it"
_SEVERAL = "give other files and folders one at a time"


def _kind(path: Path) -> str:
    """The format that a file's first bytes tell: "png", "npy", "idx" or ""."""
    try:
        with opened(path) as file:
            start = file.read(4)
            if start[:2] == GZIP_MAGIC:
                file.seek(0)
                start = gzip.GzipFile(fileobj=file).read(4)
                if start[:2] != _IDX[:2]:
                    raise DataError(f"{path}: is gzipped, and only IDX files may be")
    except GZIP_ERRORS as error:
        raise unreadable(path, error) from error
    if problem := idx_problem(path, start):
        raise DataError(problem)
    return {_PNG: "png", _NPY: "npy", _IDX: "idx"}.get(start, "")


def _files_in(folder: Path) -> list[Path]:
    """The files in a folder, in the natural order of names, without hidden ones."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise unreadable(folder, error) from error
    if not paths:
        raise DataError(f"{folder}: holds no files")
    return sorted(paths, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names with numbers by the numbers' values: 1, 2, 10."""
    parts = re.split("([0-9]+)", name)  # every second one is a number
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], name


def _read_pngs(
    paths: Sequence[Path], progress: Callable[[int], object] | None, remedy: str
) -> ImageSet:
    images = np.empty((len(paths), SIDE, SIDE), np.uint8)
    for image, path in zip(images, paths, strict=True):
        if os.path.isdir(path) or _kind(path) != "png":
            raise DataError(f"{path}: is not a PNG file; {remedy}")
        image[:] = _read_png(path)
        if progress is not None:
            progress(1)
    return ImageSet(images, [path.name for path in paths])


def _read_png(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE) or image.mode not in ("L", "1"):
                width, height = image.size
                raise DataError(
                    f"{path}: is {width}×{height} pixels of mode {image.mode}, and "
                    f"images here are {SIDE}×{SIDE} pixels in 8-bit grey (mode L); "
                    "convert it first"
                )
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{path}: is animated; store each image by itself")
            return np.array(image.convert("L"))
    except _PNG_ERRORS as error:
        raise unreadable(path, error) from error


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


# --- writing ----------------------------------------------------------------------


def check_free(path: Path, force: bool = False) -> None:
    """Raise DataError unless a file may be written at `path`."""
    if os.path.isdir(path):
        raise DataError(f"{path}: is a folder; give the name of a file")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise DataError(
            f"{path}: is a pipe, a device or a broken link; give the name of a file"
        )
    if os.path.lexists(path) and not force:
        raise DataError(f"{path}: exists; choose another name, or add --force")
    _check_parent(path)


def check_folder_free(folder: Path, names: Sequence[str], force: bool = False) -> None:
    """Raise DataError unless PNG files of these names may be written into `folder`.

    Files of the same names are replaced if `force` says so; other files are never
    deleted, nor mixed with the new ones.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise DataError(f"{folder}: exists, and is not a folder for PNG files")
    found = _names_in(folder)
    if found and not force:
        raise DataError(
            f"{folder}: is a folder with files in it; choose another name, or add "
            "--force to replace the images of the same names"
        )
    if others := sorted(set(found).difference(names)):
        raise DataError(
            f"{folder}: holds other files ({first_names(others, len(others))}), which "
            "would be mixed with the new images; delete or move them, or choose "
            "another name"
        )
    _check_parent(folder)


def _check_parent(path: Path) -> None:
    """A missing folder is more often a wrong name than one to be made."""
    parent = path.parent
    if not os.path.lexists(parent):
        raise DataError(
            f"{path}: cannot be written ({parent} is missing); make it first"
        )


def _names_in(folder: Path) -> list[str]:
    """Names in a folder, hidden ones too; none if there is no such folder."""
    try:
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    except OSError as error:
        raise unreadable(folder, error) from error


def write_file(
    path: Path,
    kind: str,
    count: int,
    parts: Iterable[np.ndarray],
    force: bool = False,
) -> None:
    """Write images to one file, part by part, as they come.

    Parameters
    ----------
    path : Path
    kind : str
        "png", "idx" or "npy".
    count : int
        How many images there will be, 1 or more; exactly 1 in a PNG file.
    parts : iterable of uint8 arrays, shape (some, 28, 28)
    force : bool
        Replace an existing file.

    Raises
    ------
    DataError
        If something at `path` may not be replaced.
    WriteError
        If it cannot be written. Nothing is left behind, and an earlier file stays.
    """
    check_free(path, force)
    with replacing_file(path) as file:
        if kind == "png":
            (image,) = parts
            Image.fromarray(image[0]).save(file, "PNG")
            return
        shape = (count, SIDE, SIDE)
        file.write(npy_header(shape) if kind == "npy" else idx_header(shape))
        for part in parts:
            file.write(part.data)


def write_folder(
    folder: Path,
    names: Sequence[str],
    parts: Iterable[np.ndarray],
    force: bool = False,
) -> None:
    """Write images to a folder of PNG files, which appears as a whole.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        One for each image.
    parts : iterable of uint8 arrays, shape (some, 28, 28)
    force : bool
        Replace an earlier folder if all its files have one of these names.

    Raises
    ------
    DataError
        If something in `folder` may not be replaced.
    WriteError
        If it cannot be written. Nothing is left behind, and an earlier folder stays.
    """
    check_folder_free(folder, names, force)
    images = (image for part in parts for image in part)
    # The folder that a link leads to is replaced, and the link stays.
    with replacing_folder(Path(os.path.realpath(folder))) as staging:
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image).save(staging / name, "PNG")
