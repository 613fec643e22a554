"""Files: the project's folder, writes that happen whole or not at all, locks, digests.

Every file and folder that this package writes is written by `replacing_file` or
`replacing_folder`: under a temporary, hidden name beside its place, synced to the disk,
then renamed. A reader sees the old content or the new, never a part of one. After an
error or an interruption the old content is still there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from caebook.errors import WriteError

#: Errors of a disk: no space, no quota, file too large, damaged, mounted read-only.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def root() -> Path:
    """The project's folder: ``$CAEBOOK_ROOT``, the checkout, or the current folder."""
    if chosen := os.environ.get("CAEBOOK_ROOT"):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "_config.yml").exists() else Path.cwd()


@contextlib.contextmanager
def replacing_file(path: Path, remedy: str | None = None) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when it is complete and on the disk.

    A symbolic link stays, and the file that it points to is replaced. Missing folders
    are made. The mode is that of any new file: 0666 without the bits of the umask.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it exists.
    remedy : str, optional
        What the error message tells the user to do; by default, to free space or to
        choose another place.

    Yields
    ------
    binary file
        To write the content to.

    Raises
    ------
    WriteError
        If the file cannot be written, or something at `path` is not a regular file. The
        temporary file is removed and an earlier file stays. Errors of the caller's own,
        such as a missing file that it reads, pass through unchanged.
    """
    place = Path(os.path.realpath(path))
    temporary = _temporary_name(place)
    try:
        with _write_errors(path, place, temporary, remedy):
            if os.path.lexists(place) and not place.is_file():
                raise _in_the_way(path, "file", remedy)
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, place)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, remedy: str | None = None) -> Iterator[Path]:
    """Fill a folder that appears under its name when it is complete and on the disk.

    A symbolic link stays, and the folder that it points to is replaced. A folder that
    is replaced is out of sight for the instant between two renames; only a process that
    is killed right there leaves it under its temporary name.

    Parameters
    ----------
    path : Path
        The folder, which is replaced as a whole if it exists.
    remedy : str, optional
        As in `replacing_file`.

    Yields
    ------
    Path
        An empty folder beside it, to write the content to.

    Raises
    ------
    WriteError
        If the folder cannot be written, or something at `path` is not a folder. The
        temporary folder is removed and an earlier folder stays. Errors of the caller's
        own pass through unchanged.
    """
    place = Path(os.path.realpath(path))
    temporary = _temporary_name(place)
    try:
        with _write_errors(path, place, temporary, remedy):
            if os.path.lexists(place) and not place.is_dir():
                raise _in_the_way(path, "folder", remedy)
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            _sync_files(temporary)
            _put_in_place(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str, remedy: str | None = None) -> None:
    """Write a text file, UTF-8, by `replacing_file`."""
    with replacing_file(path, remedy) as file:
        file.write(text.encode())


def _temporary_name(place: Path) -> Path:
    """A hidden name in the same folder, short enough for any file system."""
    return place.parent / f".{place.name[:50]}-{secrets.token_hex(4)}"


def _in_the_way(path: Path, wanted: str, remedy: str | None) -> WriteError:
    """The error for a folder, a device or a pipe where a file should go, say."""
    return WriteError(
        f"{path}: exists and is not a {wanted}; {remedy or 'choose another name'}"
    )


def _sync_files(folder: Path) -> None:
    """Wait until the content of every file in `folder` is on the disk."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _put_in_place(folder: Path, place: Path) -> None:
    """Rename `folder` to `place`; on any error the earlier folder is put back."""
    earlier = folder.with_name(f"{folder.name}-earlier")
    try:
        if place.exists():
            os.rename(place, earlier)
        os.rename(folder, place)
    finally:
        if place.exists():
            shutil.rmtree(earlier, ignore_errors=True)
        elif earlier.exists():
            os.rename(earlier, place)


@contextlib.contextmanager
def _write_errors(
    path: Path, place: Path, temporary: Path, remedy: str | None
) -> Iterator[None]:
    """Turn a failure to write `place` into a `WriteError` that says what to do."""
    try:
        yield
    except filelock.Timeout:  # an OSError, but nothing is wrong with the path
        raise
    except OSError as error:
        if not _is_about(error, place, temporary):
            raise
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = f"{error.filename} is not a folder"
        advice = remedy or "choose another place"
        if error.errno in _FULL:
            advice = f"free some space, or {advice}"
        raise WriteError(f"{path}: cannot be written ({reason}); {advice}") from error


def _is_about(error: OSError, place: Path, temporary: Path) -> bool:
    """Whether an error is about writing `place`, not about a file that is read."""
    if error.filename is None:  # from a write or a sync
        return error.errno in _DISK_ERRORS
    named = Path(str(error.filename))
    return named.is_relative_to(temporary) or place.is_relative_to(named)


@contextlib.contextmanager
def locked(
    path: Path, timeout: float = -1, remedy: str | None = None
) -> Iterator[None]:
    """Hold a lock file; the lock ends with its process, so it never goes stale.

    Parameters
    ----------
    path : Path
        The lock file; missing folders are made.
    timeout : float
        Seconds to wait for another holder; below 0: without limit.
    remedy : str, optional
        As in `replacing_file`.

    Raises
    ------
    filelock.Timeout
        If another process still holds it after `timeout`.
    WriteError
        If the lock file cannot be written.
    """
    path = Path(os.path.realpath(path))
    lock = filelock.FileLock(path, timeout=timeout)
    with _write_errors(path, path, path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest(value: object) -> str:
    """Short SHA-256 of any value that JSON can hold: 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_files(paths: Iterable[Path]) -> str:
    """Short SHA-256 of the names (without folders) and contents of files.

    Paths that are not files are skipped; the order of `paths` does not matter.
    """
    files = sorted(path for path in paths if path.is_file())
    return digest([(path.name, _sha256(path)) for path in files])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
