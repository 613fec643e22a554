"""Where the files of data sets are: the cache, and the folder that a user supplies.

Files in ``$CAEBOOK_DATA`` come first. They may be in its folder ``<name>/``, in the
layout of torchvision (``MNIST/raw/``), or in the folder itself. Downloaded and drawn
data are kept in the cache (``$CAEBOOK_CACHE``, or the user's own cache folder).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from caebook.data.registry import DRAWN, REAL, IdxFile
from caebook.errors import DataError
from caebook.files import locked

#: What to do if the cache cannot be written.
CACHE_REMEDY = "set CAEBOOK_CACHE to a folder that can be written"


def cache_folder() -> Path:
    """Return the folder of downloaded and drawn data; it need not exist yet.

    Returns
    -------
    Path
        ``$CAEBOOK_CACHE`` if that is set, else the user's cache folder for caebook.
    """
    chosen = os.environ.get("CAEBOOK_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("caebook")


def supplied_root() -> Path | None:
    """Return ``$CAEBOOK_DATA``, or None if it is not set.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    chosen = os.environ.get("CAEBOOK_DATA")
    if not chosen:
        return None
    path = Path(chosen).expanduser().absolute()
    if not os.path.isdir(path):
        raise DataError(
            f"{path}: CAEBOOK_DATA names it, but there is no such folder; correct the "
            "variable or unset it"
        )
    return path


def locate(name: str) -> Path | None:
    """Find the folder that holds a data set's files, without reading them.

    Parameters
    ----------
    name : str
        One of `caebook.data.NAMES`.

    Returns
    -------
    Path or None
        The first folder in ``$CAEBOOK_DATA`` that holds all files, else the folder in
        the cache if it is complete, else None.

    Raises
    ------
    DataError
        If ``$CAEBOOK_DATA`` is not a folder, or holds only some of the files.
    """
    cached = cache_folder() / name
    if name in DRAWN:
        return cached if cached.is_dir() else None
    files, folders = REAL[name].files, _supplied_folders(name)
    incomplete = {}
    for folder in folders:
        missing = [file.name for file in files if find_file(folder, file) is None]
        if not missing:
            return folder
        # A folder of the data set's name is meant to be used, even if it is empty.
        named = folder == folders[0] and os.path.isdir(folder)
        if named or len(missing) < len(files):
            incomplete[folder] = missing
    if incomplete:
        folder, missing = min(incomplete.items(), key=lambda item: len(item[1]))
        raise DataError(
            f"{folder}: {', '.join(missing)} missing; put all {len(files)} files "
            "there (raw or gzipped), or move this folder out of CAEBOOK_DATA to have "
            f"{name} looked for elsewhere"
        )
    if all(find_file(cached, file) for file in files):
        return cached
    return None


def find_file(folder: Path, file: IdxFile) -> Path | None:
    """Find a file in a folder, raw or gzipped, under the names that are in use.

    Parameters
    ----------
    folder : Path
        Need not exist.
    file : IdxFile
        "-idx" in its name may be ".idx" instead.

    Returns
    -------
    Path or None
        None if it is not there.
    """
    names = (file.name, file.name.replace("-idx", ".idx"))
    # Kaggle's archive holds each file in a folder that has the file's own name.
    for place in (folder, *(folder / name for name in names)):
        for name in names:
            for path in (place / f"{name}.gz", place / name):
                if os.path.isfile(path):  # unlike Path's, False where it is forbidden
                    return path
    return None


def not_here(name: str) -> str:
    """Say that a data set is not here, and name every place that was searched."""
    root = os.environ.get("CAEBOOK_DATA")
    variable = f"CAEBOOK_DATA is {root}" if root else "CAEBOOK_DATA is not set"
    searched = [cache_folder() / name]
    if name in REAL:
        searched = [*_supplied_folders(name), *searched]
    folders = ", ".join(map(str, searched))
    return f"{name} is not here; {variable}, searched: {folders}"


@contextmanager
def locked_cache(name: str) -> Iterator[Path]:
    """Keep other processes from writing the same data set to the cache.

    Yields
    ------
    Path
        The data set's folder in the cache, free of half-written files.

    Raises
    ------
    WriteError
        If the lock file cannot be written.
    """
    cache = cache_folder()
    with locked(cache / f"{name}.lock", remedy=CACHE_REMEDY):
        # A process that was killed while writing leaves its temporary files behind.
        for leftover in cache.glob(f".{name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in (cache / name).glob(".*"):
            with suppress(OSError):
                leftover.unlink()
        yield cache / name


def _supplied_folders(name: str) -> list[Path]:
    """List the folders in ``$CAEBOOK_DATA`` that may hold a real data set's files."""
    root = supplied_root()
    if root is None:
        return []
    places = (root / name, root / REAL[name].torchvision, root)
    return [folder for place in places for folder in (place, place / "raw")]
