"""Downloads that resume, are bounded in length and checked before they get a name.

What arrives collects in ``<name>.part`` beside its target. The target itself appears
in one step, when the file is complete and its caller has found it to be right.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from caebook.data.idx import BLOCK
from caebook.errors import DataError, DownloadError

#: How long a server may take to answer.
CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0  # between two blocks of what it sends


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a `DataError` that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); free some space "
            "there, or set CAEBOOK_CACHE to a folder that can be written"
        ) from error


def answering(mirrors: tuple[str, ...], file: str) -> list[str]:
    """Return the mirrors that answer within `CONNECT_SECONDS` all told.

    A connect time-out alone would not do: it counts for each address of a host, and
    looking the name up has none. Hence threads, which are left to their fate.
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


def download_file(
    urls: list[str], target: Path, limit: int, check: Callable[[Path], object]
) -> None:
    """Download a file from the first address that delivers a sound one.

    The bytes collect in ``<target>.part``, which a later call continues. `target`
    itself appears in one step, after `check` has let the file pass.

    Parameters
    ----------
    urls : list of str
        Where the file can be had, in order of preference.
    target : Path
        Where it shall be.
    limit : int
        Most bytes that it may have.
    check : callable
        Raises `DataError` if the file at a path is not the right one.

    Raises
    ------
    DownloadError
        If no address delivered the file; says why for each.
    DataError
        If the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    problems = []
    for url in urls:
        # If a continued file turns out wrong, its beginning may be to blame.
        for resumed in (True, False) if part.exists() else (False,):
            if not resumed:
                part.unlink(missing_ok=True)
            try:
                _transfer(url, part, limit)
            except DownloadError as error:
                problems.append(f"{url}: {error}")
                break
            try:
                check(part)
            except DataError as error:
                part.unlink()
                problems.append(f"{url}: sent a wrong file ({error})")
                continue
            with writing(target):
                os.replace(part, target)
            return
    raise DownloadError(
        f"{target}: could not be downloaded. {'. '.join(problems)}. Try again later: "
        "what has arrived is kept and continued"
    )


def _transfer(url: str, part: Path, limit: int) -> None:
    """Bring `part` up to the whole file at `url`, continuing where it ends."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = requests.get(
            url,
            headers=headers,
            stream=True,
            timeout=(CONNECT_SECONDS, _READ_SECONDS),
        )
    except requests.RequestException as error:
        raise DownloadError(f"no connection ({type(error).__name__})") from error
    with response:
        if response.status_code == 416:  # nothing after `have`: complete, or not it
            return
        if response.status_code not in (200, 206):
            raise DownloadError(f"HTTP {response.status_code} {response.reason}")
        start = _range_start(response) if response.status_code == 206 else 0
        if start not in (0, have):
            raise DownloadError("sent another range than was asked for")
        _receive(response, part, start, limit)


def _range_start(response: requests.Response) -> int:
    """Return the first byte's position in a partial answer, -1 if it is not told."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _receive(response: requests.Response, part: Path, start: int, limit: int) -> None:
    """Write an answer's body into `part` from byte `start` on."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    received = start
    try:
        if total is not None and total > limit:
            raise DownloadError(f"offers {total} bytes, at most {limit} are expected")
        with (
            writing(part),
            part.open("r+b" if start else "wb") as file,
            tqdm(
                desc=part.name.removesuffix(".part"),
                initial=start,
                total=total,
                unit="B",
                unit_scale=True,
            ) as bar,
        ):
            file.seek(start)
            for block in _blocks(response):
                received += len(block)
                if received > limit:
                    raise DownloadError(f"sends more than the {limit} bytes expected")
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    except _BrokenOff as error:  # `part` is kept, to be continued
        known = total or "an unknown number of"
        raise DownloadError(f"broke off after {received} of {known} bytes") from error
    except DataError:
        with suppress(OSError):
            part.unlink()
        raise


class _BrokenOff(Exception):
    """A server stopped sending before the end."""


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield an answer's body as it was sent, and tell network errors from others."""
    try:
        # requests' own iterator would unpack what the server declares to be gzip.
        yield from response.raw.stream(BLOCK, decode_content=False)
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise _BrokenOff from error
