"""Downloads into the cache: pooch transfers the bytes, and every file is checked.

A file gets its name only when it is complete and its checksum is right. A download that
breaks off starts again from the beginning: pooch does not resume.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import requests

from caebook.data.folders import CACHE_REMEDY, find_file, not_here
from caebook.data.idx import read_idx
from caebook.data.registry import REAL, Archive, IdxFile
from caebook.errors import DataError, DownloadError
from caebook.files import replacing_file

with warnings.catch_warnings():  # in a notebook, of a widget that is not installed
    warnings.simplefilter("ignore")
    import pooch

logger = logging.getLogger(__name__)

#: Seconds until a server must have answered, and between two blocks that it sends.
CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0


def download_data(name: str, folder: Path, files: Sequence[IdxFile]) -> None:
    """Download files of a real data set into its folder in the cache.

    Parameters
    ----------
    name : str
        One of the names in `caebook.data.registry.REAL`.
    folder : Path
        Its folder in the cache; made if it does not exist.
    files : sequence of IdxFile
        Which of its files are wanted; an archive gives all of them.

    Raises
    ------
    DownloadError
        If the network or the servers did not deliver; says why for each address.
    WriteError
        If a file cannot be written.
    """
    real = REAL[name]
    if real.archive is not None:
        _download_archive(real.archive, folder, real.files)
        return
    mirrors = answering(real.mirrors, f"{files[0].name}.gz")
    if not mirrors:
        raise DownloadError(
            f"{not_here(name)}; it cannot be downloaded: no answer from "
            f"{' or '.join(real.mirrors)} within {CONNECT_SECONDS:.0f} s. Connect to "
            f"the network, or put the four files into $CAEBOOK_DATA/{name}/"
        )
    for file in files:
        damaged, target = find_file(folder, file), folder / f"{file.name}.gz"

        def check(path: Path, url: str, file: IdxFile = file) -> None:
            read_idx(path, file, label=url, remedy="the server sent a wrong file")

        _download([mirror + target.name for mirror in mirrors], target, check)
        if damaged not in (None, target):  # raw, or under another name
            damaged.unlink()


def answering(mirrors: Sequence[str], file: str) -> list[str]:
    """Return the mirrors that answer within `CONNECT_SECONDS`, all together.

    A time-out of the request alone is not enough: it does not limit the name look-up,
    which hangs on some machines without a network. Threads that hang are abandoned.
    """
    answered = set()

    def ask(mirror: str) -> None:
        try:
            requests.head(mirror + file, timeout=CONNECT_SECONDS).close()
        except requests.RequestException:
            return
        answered.add(mirror)

    threads = [
        threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + CONNECT_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if mirror in answered]


def _download_archive(archive: Archive, folder: Path, files: Sequence[IdxFile]) -> None:
    """Download an archive and keep some of its files."""

    def check(path: Path, url: str) -> None:
        found = pooch.file_hash(str(path), "md5")  # no other checksum is published
        if found != archive.md5:
            raise DataError(
                f"{url}: checksum mismatch: md5 is {found}, expected {archive.md5}"
            )

    path = folder / "gzip.zip"
    if not path.exists() or pooch.file_hash(str(path), "md5") != archive.md5:
        _download([archive.url], path, check)
    # The archive is kept until then, so that a full disk does not cost a download.
    with zipfile.ZipFile(path) as members:
        for file in files:
            _extract(members, file, folder)
    path.unlink()


def _extract(members: zipfile.ZipFile, file: IdxFile, folder: Path) -> None:
    """Copy one file out of an archive; it gets its name once it is checked."""
    target = folder / f"{file.name}.gz"
    with (
        members.open(f"gzip/{target.name}") as member,
        replacing_file(target, remedy=CACHE_REMEDY) as output,
    ):
        shutil.copyfileobj(member, output)
        output.flush()
        read_idx(Path(output.name), file)


def _download(
    urls: Sequence[str], target: Path, check: Callable[[Path, str], object]
) -> None:
    """Download a file from the first address that delivers the right one.

    Parameters
    ----------
    urls : sequence of str
        Its addresses; they are tried in this order.
    target : Path
        Its place in the cache.
    check : callable
        Takes a path and the address that the file came from; raises `DataError` if
        it is not the right file.

    Raises
    ------
    DownloadError
        If no address delivered the file.
    WriteError
        If the file cannot be written.
    """
    problems = []
    for url in urls:
        try:
            # pooch.retrieve would name the file before it is checked: MNIST's known
            # checksums are of uncompressed bytes, since mirrors compress differently.
            with replacing_file(target, remedy=CACHE_REMEDY) as output:
                _transfer(url, output)
                output.flush()
                check(Path(output.name), url)
            return
        except DataError as error:
            problems.append(str(error))
    raise DownloadError(
        f"{target}: cannot be downloaded. {'. '.join(problems)}. Try again later, or "
        f"put the four files into $CAEBOOK_DATA/{target.parent.name}/"
    )


def _transfer(url: str, output: BinaryIO) -> None:
    """Write what an address delivers into a file, with a progress bar."""
    logger.warning("downloading %s", url)
    transfer = pooch.HTTPDownloader(
        progressbar=True, chunk_size=1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS)
    )
    try:
        transfer(url, output, None)
    except requests.HTTPError as error:
        answer = error.response
        raise DownloadError(
            f"{url}: HTTP {answer.status_code} {answer.reason}"
        ) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise DownloadError(f"{url}: the connection broke off") from error
    except requests.RequestException as error:
        reason = type(error).__name__
        raise DownloadError(f"{url}: no connection ({reason})") from error
