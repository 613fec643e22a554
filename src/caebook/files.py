"""Files: the project's folder, writes that happen whole or not at all, locks, digests.

Every file and folder that this package writes is written by `replacing_file` or
`replacing_folder`: under a temporary name beside its place, then renamed. A reader sees
the old content or the new, never half of one, and an error leaves the old content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from caebook.errors import WriteError


def root() -> Path:
    """The project's folder: ``$CAEBOOK_ROOT``, the checkout, or the current folder."""
    if chosen := os.environ.get("CAEBOOK_ROOT"):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "_config.yml").exists() else Path.cwd()


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when it is complete and on the disk.

    A symbolic link stays, and what it leads to is replaced. Missing folders are made.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it is there.

    Yields
    ------
    binary file
        To write the content to.

    Raises
    ------
    WriteError
        If it cannot be written. Nothing is left behind, and an earlier file stays.
    """
    with _write_errors(path), _temporary(path, "file") as temporary:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, os.path.realpath(path))


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that appears under its name when it is complete.

    Parameters
    ----------
    path : Path
        The folder, which is replaced as a whole if it is there.

    Yields
    ------
    Path
        An empty folder beside it, to write the content to.

    Raises
    ------
    WriteError
        If it cannot be written. Nothing is left behind, and an earlier folder stays.
    """
    with _write_errors(path), _temporary(path, "folder") as temporary:
        yield temporary
        earlier = temporary.with_name(f"{temporary.name}-earlier")
        replaces = path.exists()
        if replaces:
            os.replace(path, earlier)
        try:
            os.replace(temporary, path)
        except BaseException:
            if replaces:
                os.replace(earlier, path)
            raise
        shutil.rmtree(earlier, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, by `replacing_file`."""
    with replacing_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def _temporary(path: Path, kind: str) -> Iterator[Path]:
    """A path beside `path` for a hidden file, or a hidden folder; removed at the end.

    The name is chosen before anything is made, so that a signal at any moment leaves
    nothing behind.
    """
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}-{secrets.token_hex(8)}")
    try:
        if kind == "folder":
            temporary.mkdir()
        yield temporary
    finally:
        if kind == "folder":
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write into a `WriteError` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = (
            "free some space, or choose another place"
            if full
            else ("choose another place")
        )
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); {remedy}"
        ) from error


@contextlib.contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock file; the lock vanishes with its process, so it never goes stale.

    Parameters
    ----------
    path : Path
        The lock file; missing folders are made.
    timeout : float
        Seconds to wait for another holder; below 0 for as long as it takes.

    Raises
    ------
    filelock.Timeout
        If another process holds it for longer.
    WriteError
        If the lock file cannot be written.
    """
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, timeout=timeout)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest(value: object) -> str:
    """Short SHA-256 of anything that JSON can hold: 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_files(paths: Iterator[Path] | list[Path]) -> str:
    """Short SHA-256 of the names and contents of files; what is no file is skipped."""
    files = sorted(path for path in paths if path.is_file())
    return digest(
        [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    )
