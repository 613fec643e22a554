"""Downloads: every way in which a server or a disk can fail."""

import errno
import os
import threading

import numpy as np
import pytest
import requests
from fakes import Server, put

from caebook.data import fetch as download
from caebook.data.fetch import answering, download_file
from caebook.errors import DataError, DownloadError

WHOLE = np.random.default_rng(0).bytes(30_000)
LIMIT = 40_000
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
def server():
    """A server that has the file."""
    with Server() as server:
        server.files["file"] = WHOLE
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """Download the file, and return what is in the folder then."""

    def check(path):
        if path.read_bytes() != WHOLE:
            raise DataError("not what was asked for")

    def fetch(*urls):
        target = tmp_path / "file"
        download_file(list(urls) or [f"{server.url}file"], target, LIMIT, check)
        return contents(tmp_path)

    return fetch


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_is_downloaded(fetch):
    assert fetch() == {"file": WHOLE}


@pytest.mark.parametrize("declare", [True, False])
def test_a_cut_download_is_continued(server, fetch, tmp_path, declare):
    server.cut, server.declare = 10_000, declare
    # Without a length, a file that breaks off cannot be told from a wrong one.
    problem = "broke off after 10000 of 30000" if declare else "sent a wrong file"
    with pytest.raises(DownloadError, match=problem) as caught:
        fetch()
    assert f"{server.url}file" in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)
    assert contents(tmp_path) == ({"file.part": WHOLE[:10_000]} if declare else {})
    server.cut = None
    assert fetch() == {"file": WHOLE}
    assert server.asked[-1] == ("file", "bytes=10000-" if declare else None)


def test_a_server_that_ignores_ranges_starts_over(server, fetch, tmp_path):
    put(tmp_path, {"file.part": b"x" * 1000})
    server.ranges = False
    assert fetch() == {"file": WHOLE}
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [len(WHOLE) - 100, len(WHOLE) + 100])
def test_a_part_of_something_else_is_dropped(server, fetch, tmp_path, length):
    put(tmp_path, {"file.part": bytes(length)})
    assert fetch() == {"file": WHOLE}
    assert server.asked == [("file", f"bytes={length}-"), ("file", None)]


def test_a_complete_part_is_used(server, fetch, tmp_path):
    put(tmp_path, {"file.part": WHOLE})
    assert fetch() == {"file": WHOLE}
    assert server.asked == [("file", f"bytes={len(WHOLE)}-")]


WRONG = {
    "another page": b"<html>Please log in</html>",
    "truncated": WHOLE[:-30],
    "flipped bit": WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
}


@pytest.mark.parametrize("declare", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_not_kept(server, fetch, tmp_path, wrong, declare):
    server.files["file"] = WRONG[wrong]
    server.declare = declare
    with pytest.raises(DownloadError, match="sent a wrong file"):
        fetch()
    assert contents(tmp_path) == {}


def test_too_much_is_not_even_received(server, fetch, tmp_path):
    server.files["file"] = bytes(50_000_000)
    with pytest.raises(DownloadError, match="offers 50000000 bytes, at most 40000"):
        fetch()
    server.declare = False
    with pytest.raises(DownloadError, match="sends more than the 40000 bytes"):
        fetch()
    assert contents(tmp_path) == {}


def test_the_next_address_helps_out(server, fetch):
    server.files["wrong"] = b"nonsense"
    urls = [NOBODY, *(server.url + name for name in ("absent", "wrong", "file"))]
    assert fetch(*urls) == {"file": WHOLE}
    assert [name for name, _ in server.asked] == ["absent", "wrong", "file"]


def test_it_is_said_what_was_wrong_with_each_address(server, fetch):
    with pytest.raises(DownloadError) as caught:
        fetch(NOBODY, f"{server.url}absent")
    assert f"{NOBODY}: no connection" in str(caught.value)
    assert f"{server.url}absent: HTTP 404" in str(caught.value)


def test_no_space_left(fetch, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(download.os, "fsync", full)
        with pytest.raises(DataError, match="No space left") as caught:
            fetch()
    assert not isinstance(caught.value, DownloadError)  # trying again would not help
    assert str(tmp_path / "file") in str(caught.value)
    assert contents(tmp_path) == {}
    assert fetch() == {"file": WHOLE}


def test_mirrors_that_answer_keep_their_order(server):
    with Server() as other:
        mirrors = (other.url, NOBODY, server.url)
        assert answering(mirrors, "file") == [other.url, server.url]


def test_a_name_server_that_hangs_does_not_hang_us(monkeypatch):
    """The wait is bounded for all mirrors together, look-up included."""
    released = threading.Event()
    waited = []

    def hang(*arguments, **options):
        released.wait(10)
        waited.append(arguments)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", hang)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.05)
    mirrors = tuple(f"http://mirror{number}.invalid/" for number in range(8))
    try:
        assert answering(mirrors, "file") == []
        assert waited == []
    finally:
        released.set()
