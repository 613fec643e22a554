"""Downloads: what a server, the network or the disk can do, and what is left behind."""

import gzip
import hashlib
import io
import threading
import zipfile

import numpy as np
import pytest
import requests
from fakes import (
    NAMES,
    NOBODY,
    Server,
    cached,
    change,
    flipped,
    full_disk,
    isolate,
    make_small,
    put,
)

from caebook import data
from caebook.data import download
from caebook.data.registry import Archive
from caebook.errors import DataError, DownloadError, WriteError


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def mnist(monkeypatch, server):
    """A small MNIST that a mirror serves: its arrays and its files' bytes."""
    arrays, raw = make_small(monkeypatch, "mnist", 60, 20)
    server.serve(raw)
    change(monkeypatch, "mnist", mirrors=(server.url,))
    return arrays, raw


# --- MNIST from its mirrors -------------------------------------------------------


def test_mnist_is_downloaded_once(mnist, server):
    dataset = data.load("mnist")
    np.testing.assert_array_equal(dataset.train_images, mnist[0][0])
    assert "cache" in dataset.source
    assert cached() == sorted(f"mnist/{name}.gz" for name in NAMES)
    assert server.asked == [f"{name}.gz" for name in NAMES]
    assert data.resolve("auto-digits") == "mnist"
    data.load("mnist")
    assert len(server.asked) == 4


def test_a_wrong_file_is_not_kept(mnist, server):
    server.serve({NAMES[0]: flipped(mnist[1][NAMES[0]])})
    with pytest.raises(DownloadError, match="checksum mismatch") as caught:
        data.load("mnist")
    assert f"{server.url}{NAMES[0]}.gz: checksum" in str(caught.value)
    assert str(data.cache_folder() / "mnist" / NAMES[0]) in str(caught.value)
    assert "CAEBOOK_DATA" in str(caught.value)
    assert cached() == []
    assert data.resolve("auto-digits") == "glyph-digits"


def test_a_connection_that_breaks_off_leaves_nothing(mnist, server):
    server.cut = 10_000
    with pytest.raises(DownloadError, match="broke off") as caught:
        data.load("mnist")
    assert f"{server.url}{NAMES[0]}.gz" in str(caught.value)
    assert cached() == []
    server.cut = None
    np.testing.assert_array_equal(data.load("mnist").train_images, mnist[0][0])


def test_the_next_mirror_delivers_what_the_others_do_not(mnist, server, monkeypatch):
    """One mirror is down; another has two wrong files, and lacks a third."""
    with Server() as bad:
        bad.serve(mnist[1])
        bad.files[f"{NAMES[0]}.gz"] = b"<html>Please log in</html>"
        bad.files[f"{NAMES[1]}.gz"] = bytes(9) + bad.files[f"{NAMES[1]}.gz"]
        del bad.files[f"{NAMES[2]}.gz"]
        change(monkeypatch, "mnist", mirrors=(NOBODY, bad.url, server.url))
        np.testing.assert_array_equal(data.load("mnist").train_images, mnist[0][0])
        assert bad.asked == [f"{name}.gz" for name in NAMES]
    assert server.asked == [f"{name}.gz" for name in NAMES[:3]]


def test_the_error_says_what_was_wrong_with_each_mirror(mnist, server, monkeypatch):
    server.files.clear()
    with Server() as other:
        other.files[f"{NAMES[0]}.gz"] = b"nonsense"
        change(monkeypatch, "mnist", mirrors=(server.url, other.url))
        with pytest.raises(DownloadError) as caught:
            data.load("mnist")
    assert f"{server.url}{NAMES[0]}.gz: HTTP 404" in str(caught.value)
    assert f"{other.url}{NAMES[0]}.gz: truncated" in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_cached_file_is_downloaded_again(mnist, server, suffix):
    folder = data.cache_folder() / "mnist"
    put(folder, {name + suffix: raw for name, raw in mnist[1].items()})
    put(folder, {NAMES[2] + suffix: flipped(mnist[1][NAMES[2]])})
    with pytest.raises(DataError, match="fetch mnist") as caught:
        data.load("mnist")
    assert str(folder / NAMES[2]) in str(caught.value)
    data.fetch("mnist")
    assert server.asked == [f"{NAMES[2]}.gz"]
    assert len(cached()) == 4
    np.testing.assert_array_equal(data.load("mnist").test_images, mnist[0][2])


def test_without_a_network_a_damaged_cached_file_stays_an_error(mnist, monkeypatch):
    """`auto-digits` must not silently become the stand-in."""
    change(monkeypatch, "mnist", mirrors=(NOBODY,))
    put(data.cache_folder() / "mnist", mnist[1])
    put(data.cache_folder() / "mnist", {NAMES[2]: flipped(mnist[1][NAMES[2]])})
    with pytest.raises(DataError, match="could not be downloaded again") as caught:
        data.resolve("auto-digits")
    assert not isinstance(caught.value, DownloadError)
    assert len(cached()) == 4


def test_a_full_disk_leaves_nothing(mnist):
    with full_disk(10_000), pytest.raises(WriteError, match="free some space") as error:
        data.load("mnist")
    assert str(data.cache_folder() / "mnist" / NAMES[0]) in str(error.value)
    assert "CAEBOOK_CACHE" in str(error.value)
    assert cached() == []


def test_what_a_killed_download_left_is_removed(mnist):
    put(data.cache_folder() / "mnist", {f".{NAMES[0]}.gz-abc": b"half"})
    data.fetch("mnist")
    assert cached() == sorted(f"mnist/{name}.gz" for name in NAMES)


# --- which mirrors answer ---------------------------------------------------------


def test_mirrors_that_answer_keep_their_order(server):
    with Server() as other:
        mirrors = (other.url, NOBODY, server.url)
        assert download.answering(mirrors, "file") == [other.url, server.url]


def test_a_name_look_up_that_hangs_is_abandoned(monkeypatch):
    """The limit holds for all mirrors together."""
    released = threading.Event()
    returned = []

    def hang(*arguments, **options):
        released.wait(10)
        returned.append(arguments)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", hang)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.05)
    mirrors = tuple(f"http://mirror{number}.invalid/" for number in range(8))
    try:
        assert download.answering(mirrors, "file") == []
        assert returned == []
    finally:
        released.set()


# --- EMNIST from its archive ------------------------------------------------------


@pytest.fixture
def archive(monkeypatch, server):
    """A small EMNIST archive on a server."""
    _, raw = make_small(monkeypatch, "emnist-letters", 78, 52)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as members:
        members.writestr("gzip/emnist-digits-mapping.txt", "not needed")
        for name, content in raw.items():
            members.writestr(f"gzip/{name}.gz", gzip.compress(content))
    content = packed.getvalue()
    server.files["gzip.zip"] = content
    md5 = hashlib.md5(content).hexdigest()
    entry = Archive(f"{server.url}gzip.zip", len(content), md5)
    change(monkeypatch, "emnist-letters", archive=entry)
    return raw


def test_only_the_letters_of_the_archive_are_kept(archive, server):
    paths = data.fetch("emnist-letters")
    assert cached() == sorted(f"emnist-letters/{name}.gz" for name in archive)
    assert [path.name for path in paths] == [f"{name}.gz" for name in archive]
    assert data.load("emnist-letters").name == "emnist-letters"
    assert server.asked == ["gzip.zip"]


@pytest.mark.parametrize("problem", ["wrong", "cut"])
def test_a_wrong_archive_is_not_kept(archive, server, problem):
    if problem == "wrong":
        server.files["gzip.zip"] = flipped(server.files["gzip.zip"])
    else:
        server.cut = 1_000
    message = {"wrong": "md5 is", "cut": "broke off"}[problem]
    with pytest.raises(DownloadError, match=message) as caught:
        data.fetch("emnist-letters")
    assert f"{server.url}gzip.zip" in str(caught.value)
    assert cached() == []


def test_a_full_disk_does_not_cost_the_archive(archive, server):
    """The archive fits, one file of letters does not: it is not downloaded twice."""
    content = server.files["gzip.zip"]
    put(data.cache_folder() / "emnist-letters", {"gzip.zip": content})
    with full_disk(20_000), pytest.raises(WriteError, match="free some space"):
        data.fetch("emnist-letters")
    assert cached() == ["emnist-letters/gzip.zip"]
    data.fetch("emnist-letters")
    assert server.asked == []
    assert len(cached()) == 4


def test_a_damaged_archive_in_the_cache_is_downloaded_again(archive, server):
    put(data.cache_folder() / "emnist-letters", {"gzip.zip": b"PK half"})
    data.fetch("emnist-letters")
    assert server.asked == ["gzip.zip"]
    assert len(cached()) == 4
