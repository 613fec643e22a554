"""Data sets: where they are found, and what happens when they are not sound."""

import dataclasses
import errno
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from fakes import Server, flipped, idx, put

from caebook import cli, data
from caebook.data import DataError, glyphs
from caebook.data.idx import IdxFile

TRAIN, TEST = 300, 40
SUPPLIED = Path(os.environ.get("CAEBOOK_DATA") or "nowhere").absolute()
NAMES = [file.name for file in data._COLLECTIONS["mnist"].files]


def arrays(classes, first, train, test, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for count in (train, test):
        out.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        labels = np.arange(count) % classes + first
        out.append(rng.permutation(labels).astype(np.uint8))
    return out


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An empty cache, no supplied data, and no way out to the network."""
    monkeypatch.setenv("CAEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAEBOOK_DATA", raising=False)
    monkeypatch.setattr(data, "_MNIST_MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(data, "_GLYPH_COUNTS", (60, 20))
    return tmp_path


@pytest.fixture
def mnist(monkeypatch):
    """A small data set in MNIST's place: its arrays and its files' bytes."""
    contents = arrays(10, 0, TRAIN, TEST)
    raw = {name: idx(array) for name, array in zip(NAMES, contents, strict=True)}
    files = tuple(
        IdxFile(name, array.shape, hashlib.sha256(raw[name]).hexdigest())
        for name, array in zip(NAMES, contents, strict=True)
    )
    collection = dataclasses.replace(data._COLLECTIONS["mnist"], files=files)
    monkeypatch.setitem(data._COLLECTIONS, "mnist", collection)
    return contents, raw


@pytest.fixture
def supplied(mnist, places, monkeypatch):
    """The small MNIST, gzipped, in $CAEBOOK_DATA."""
    folder = places / "data" / "mnist"
    put(folder, {f"{name}.gz": gzip.compress(raw) for name, raw in mnist[1].items()})
    monkeypatch.setenv("CAEBOOK_DATA", str(folder.parent))
    return folder


def cached():
    """Everything in the cache but locks."""
    cache = data.cache_folder()
    paths = cache.rglob("*") if cache.is_dir() else ()
    return sorted(
        str(path.relative_to(cache))
        for path in paths
        if path.is_file() and path.suffix != ".lock"
    )


# --- reading ----------------------------------------------------------------------


def test_supplied_files_are_loaded(supplied, mnist):
    dataset = data.load("mnist")
    loaded = (
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    )
    for got, expected in zip(loaded, mnist[0], strict=True):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected)
    assert dataset.classes == tuple("0123456789")
    assert not dataset.stand_in
    assert str(supplied) in dataset.source
    together = b"".join(mnist[1][name] for name in NAMES)
    assert dataset.sha256 == hashlib.sha256(together).hexdigest()
    assert cached() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_spoilt_file_is_named(supplied, mnist, name):
    path = supplied / f"{name}.gz"
    path.write_bytes(flipped(mnist[1][name]))
    for use in (data.load, data.verify, data.fetch):
        with pytest.raises(DataError, match="checksum mismatch") as caught:
            use("mnist")
        assert str(path) in str(caught.value)
        assert "replace it" in str(caught.value)
    # a stand-in must not cover up for files that someone meant to be used
    with pytest.raises(DataError, match="checksum mismatch"):
        data.resolve("auto-digits")


def test_a_missing_file_is_named(supplied):
    (supplied / f"{NAMES[1]}.gz").unlink()
    for use in (data.load, data.verify, data.resolve):
        name = "auto-digits" if use is data.resolve else "mnist"
        with pytest.raises(DataError, match=f"{NAMES[1]} missing") as caught:
            use(name)
        assert str(supplied) in str(caught.value)


def test_data_variable_must_name_a_folder(monkeypatch, places):
    monkeypatch.setenv("CAEBOOK_DATA", str(places / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere.*no such folder"):
        data.load("mnist")


def test_labels_outside_the_classes_are_refused(letters_files, places, monkeypatch):
    folder, _ = letters_files
    path = folder / "emnist-letters-test-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] = 27
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="labels run from 1 to 27") as caught:
        data.load("emnist-letters")
    assert str(path) in str(caught.value)


# --- names ------------------------------------------------------------------------


def test_unknown_names_are_refused_with_a_list():
    for use in (data.load, data.resolve, data.fetch, data.verify):
        with pytest.raises(DataError) as caught:
            use("mnits")
        assert all(name in str(caught.value) for name in (*data.NAMES, *data.AUTO))


def test_concrete_names_resolve_to_themselves():
    assert [data.resolve(name) for name in data.NAMES] == list(data.NAMES)
    assert cached() == []


def test_auto_prefers_the_real_data(supplied):
    assert data.resolve("auto-digits") == "mnist"
    assert data.load("auto-digits").name == "mnist"


def test_auto_falls_back_to_the_stand_in(mnist, capsys):
    assert data.resolve("auto-digits") == "glyph-digits"
    assert "glyph-digits stands in for mnist" in capsys.readouterr().err
    dataset = data.load("auto-digits")
    assert dataset.stand_in
    assert dataset.name == "glyph-digits"


def test_auto_letters_never_downloads(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("went to the network")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests, "head", refuse)
    assert data.resolve("auto-letters") == "glyph-letters"
    with pytest.raises(DataError, match=r"fetch emnist-letters.*562 MB"):
        data.load("emnist-letters")


# --- splitting --------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered():
    """A data set whose every image carries its own number in two pixels."""
    total, tests = 6_000, 100
    images = np.zeros((total + tests, 28, 28), np.uint8)
    number = np.arange(total + tests)
    images[:, 0, 0], images[:, 0, 1] = number // 256, number % 256
    labels = (number % 10).astype(np.uint8)
    return data.Dataset(
        "mnist",
        images[:total],
        labels[:total],
        images[total:],
        labels[total:],
        tuple("0123456789"),
        "made for a test",
        "",
        False,
    )


def numbers(images):
    return images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]


def test_split_is_disjoint_shuffled_and_repeatable(numbered):
    train, train_labels, held, held_labels = numbered.training_split(800, seed=1)
    assert (len(train), len(held)) == (800, 5_000)
    assert not set(numbers(train)) & set(numbers(held))
    assert len(set(numbers(train)) | set(numbers(held))) == 5_800
    np.testing.assert_array_equal(numbers(train) % 10, train_labels)
    np.testing.assert_array_equal(numbers(held) % 10, held_labels)
    assert np.any(np.diff(numbers(train)) < 0)
    again = numbered.training_split(800, seed=1)
    np.testing.assert_array_equal(again[0], train)
    assert np.any(numbers(numbered.training_split(800, seed=2)[0]) != numbers(train))


def test_split_holds_out_the_same_images_whatever_the_count(numbered):
    few, many = numbered.training_split(10), numbered.training_split(1_000)
    np.testing.assert_array_equal(few[2], many[2])
    np.testing.assert_array_equal(few[0], many[0][:10])


def test_split_of_everything_validates_on_the_test_set(numbered):
    train, _, held, held_labels = numbered.training_split(6_000)
    assert sorted(numbers(train)) == list(range(6_000))
    np.testing.assert_array_equal(held, numbered.test_images)
    np.testing.assert_array_equal(held_labels, numbered.test_labels)
    held[:] = 0
    assert numbered.test_images.any()  # a copy was changed, not the data set


@pytest.mark.parametrize("count", [-1, 0, 1_001, 5_999, 6_001])
def test_split_refuses_other_counts(numbered, count):
    with pytest.raises(ValueError, match="1 to 1000 images, or for all 6000"):
        numbered.training_split(count)


# --- stand-ins in the cache -------------------------------------------------------


def test_stand_in_is_drawn_once_and_then_read(monkeypatch):
    first = data.load("glyph-letters")
    assert first.stand_in
    assert first.classes == glyphs.CLASSES["letters"]

    def refuse(*arguments, **options):
        raise AssertionError("drawn twice")

    monkeypatch.setattr(glyphs, "draw", refuse)
    second = data.load("glyph-letters")
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert first.sha256 == second.sha256
    folder = data.cache_folder() / "glyph-letters"
    together = b"".join((folder / name).read_bytes() for name in NAMES)
    assert hashlib.sha256(together).hexdigest() == first.sha256


@pytest.mark.parametrize("victim", [*NAMES, "drawn.json"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "flipped"])
def test_a_damaged_stand_in_is_drawn_anew(victim, damage, capsys):
    sound = data.load("glyph-digits")
    path = data.cache_folder() / "glyph-digits" / victim
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "truncated" else b"?" + content[1:])
    with pytest.raises(DataError, match=re.escape(str(path))):
        data.verify("glyph-digits")
    assert data.load("glyph-digits").sha256 == sound.sha256
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == content
    assert len(cached()) == 5


def test_a_stand_in_by_another_version_is_drawn_anew(monkeypatch):
    data.load("glyph-digits")
    monkeypatch.setattr(glyphs, "VERSION", glyphs.VERSION + 1)
    with pytest.raises(DataError, match="other versions"):
        data.verify("glyph-digits")
    data.load("glyph-digits")
    data.verify("glyph-digits")


def test_an_interrupted_drawing_leaves_nothing(monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "draw", interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.load("glyph-digits")
    assert cached() == []
    assert not (data.cache_folder() / "glyph-digits").exists()
    # and what a killed one left is swept away
    put(data.cache_folder() / ".glyph-digits-1", {NAMES[0]: b"half"})
    data.load("glyph-digits")
    assert len(cached()) == 5


def test_parallel_jobs_draw_once(monkeypatch):
    drawn = []
    draw = glyphs.draw

    def counted(*arguments, **options):
        drawn.append(arguments)
        return draw(*arguments, **options)

    monkeypatch.setattr(glyphs, "draw", counted)
    digests = []
    threads = [
        threading.Thread(
            target=lambda: digests.append(data.load("glyph-digits").sha256)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 1
    assert len(digests) == 4
    assert len(set(digests)) == 1


# --- disks that refuse ------------------------------------------------------------


def test_a_cache_that_cannot_be_made_is_an_error(mnist, places, monkeypatch, server):
    (places / "file").write_text("in the way")
    monkeypatch.setenv("CAEBOOK_CACHE", str(places / "file" / "cache"))
    monkeypatch.setattr(data, "_MNIST_MIRRORS", (server.url,))
    for name in ("glyph-digits", "mnist", "auto-digits", "auto-letters"):
        with pytest.raises(DataError, match="set CAEBOOK_CACHE") as caught:
            data.load(name)
        assert str(places / "file") in str(caught.value)


def test_a_read_only_cache_is_an_error_only_when_written(monkeypatch):
    """Root may write anywhere, so the system's refusal is played."""
    drawn = data.load("glyph-digits")

    def refuse(self, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert data.load("glyph-digits").sha256 == drawn.sha256
    with pytest.raises(DataError, match="Read-only file system") as caught:
        data.load("glyph-letters")
    assert str(data.cache_folder()) in str(caught.value)


def test_a_lock_that_cannot_be_taken_is_an_error(monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.lock_file)

    monkeypatch.setattr(data.filelock.FileLock, "acquire", refuse)
    with pytest.raises(DataError, match="Permission denied") as caught:
        data.load("glyph-digits")
    assert str(data.cache_folder() / "glyph-digits.lock") in str(caught.value)


@pytest.mark.parametrize("name", ["glyph-digits", "mnist"])
def test_a_full_disk_leaves_nothing_behind(mnist, places, server, name):
    """The limit on file sizes makes the system refuse, like a full disk does."""
    limit = 20_000
    code = (
        "import resource, sys\n"
        "from caebook import cli, data\n"
        "data._GLYPH_COUNTS = (60, 20)\n"
        f"data._MNIST_MIRRORS = ({server.url!r},)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"sys.exit(cli.main(['data', 'fetch', {name!r}]))\n"
    )
    server.serve(mnist[1])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    line = run.stderr.strip().splitlines()[-1]
    assert NAMES[0] in line
    assert "cannot be written" in line
    assert "free some space" in line
    assert cached() == []


# --- downloads --------------------------------------------------------------------


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def mirror(server, mnist, monkeypatch):
    """A mirror that has the small MNIST."""
    server.serve(mnist[1])
    monkeypatch.setattr(data, "_MNIST_MIRRORS", (server.url,))
    return server


def test_download_into_the_cache(mirror, mnist):
    dataset = data.load("mnist")
    np.testing.assert_array_equal(dataset.train_images, mnist[0][0])
    assert "cache" in dataset.source
    assert cached() == sorted(f"mnist/{name}.gz" for name in NAMES)
    asked = len(mirror.asked)
    assert data.resolve("auto-digits") == "mnist"
    data.load("mnist")
    assert len(mirror.asked) == asked


def test_a_cut_download_is_continued(mirror, mnist):
    whole = mirror.files[f"{NAMES[0]}.gz"]
    mirror.cut = len(whole) // 2
    with pytest.raises(DataError, match="broke off after") as caught:
        data.load("mnist")
    assert NAMES[0] in str(caught.value)
    assert "continued" in str(caught.value)
    assert cached() == [f"mnist/{NAMES[0]}.gz.part"]
    with pytest.raises(DataError, match="not here"):
        data.verify("mnist")

    mirror.cut = None
    mirror.asked.clear()
    np.testing.assert_array_equal(data.load("mnist").train_images, mnist[0][0])
    assert mirror.asked[0] == (f"{NAMES[0]}.gz", f"bytes={len(whole) // 2}-")
    assert cached() == sorted(f"mnist/{name}.gz" for name in NAMES)


def test_a_wrong_file_is_not_kept(mirror, mnist):
    mirror.serve({name: flipped(raw) for name, raw in mnist[1].items()})
    with pytest.raises(DataError, match="checksum mismatch") as caught:
        data.load("mnist")
    assert f"{NAMES[0]}.gz" in str(caught.value)
    assert mirror.url in str(caught.value)
    assert cached() == []
    assert data.resolve("auto-digits") == "glyph-digits"


def test_too_much_is_not_even_received(mirror):
    mirror.files[f"{NAMES[0]}.gz"] = bytes(50_000_000)
    with pytest.raises(DataError, match="offers 50000000 bytes, at most"):
        data.load("mnist")
    assert cached() == []


def test_the_next_mirror_helps_out(mirror, mnist, monkeypatch):
    with Server() as bad:
        bad.files = {f"{name}.gz": b"nonsense" for name in NAMES[:2]}
        mirrors = ("http://127.0.0.1:9/", bad.url, mirror.url)
        monkeypatch.setattr(data, "_MNIST_MIRRORS", mirrors)
        np.testing.assert_array_equal(data.load("mnist").train_images, mnist[0][0])
        assert len(bad.asked) == 4


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_cached_file_is_fetched_anew(mirror, mnist, suffix):
    folder = data.cache_folder() / "mnist"
    put(folder, {name + suffix: raw for name, raw in mnist[1].items()})
    put(folder, {NAMES[2] + suffix: flipped(mnist[1][NAMES[2]])})
    with pytest.raises(DataError, match="fetch mnist") as caught:
        data.load("mnist")
    assert str(folder / NAMES[2]) in str(caught.value)
    data.fetch("mnist")
    assert [name for name, _ in mirror.asked] == [f"{NAMES[2]}.gz"]
    assert len(cached()) == 4
    np.testing.assert_array_equal(data.load("mnist").test_images, mnist[0][2])


def test_a_damaged_cached_file_is_not_covered_up(mnist):
    """Offline, `auto-digits` must not quietly become the stand-in."""
    folder = data.cache_folder() / "mnist"
    put(folder, mnist[1])
    put(folder, {NAMES[2]: flipped(mnist[1][NAMES[2]])})
    with pytest.raises(DataError, match="damaged, and it could not be fetched anew"):
        data.resolve("auto-digits")
    assert len(cached()) == 4


# --- EMNIST -----------------------------------------------------------------------


@pytest.fixture
def letters_files(places, monkeypatch):
    """A small EMNIST Letters in $CAEBOOK_DATA: its folder and its arrays."""
    contents = arrays(26, 1, 78, 52)
    collection = data._COLLECTIONS["emnist-letters"]
    files = tuple(
        dataclasses.replace(file, shape=array.shape)
        for file, array in zip(collection.files, contents, strict=True)
    )
    collection = dataclasses.replace(collection, files=files)
    monkeypatch.setitem(data._COLLECTIONS, "emnist-letters", collection)
    folder = places / "data" / "emnist-letters"
    names = [file.name for file in files]
    put(folder, dict(zip(names, map(idx, contents), strict=True)))
    monkeypatch.setenv("CAEBOOK_DATA", str(folder.parent))
    return folder, contents


def test_letters_are_upright_and_count_from_zero(letters_files):
    _, contents = letters_files
    dataset = data.load("emnist-letters")
    np.testing.assert_array_equal(dataset.train_images, contents[0].transpose(0, 2, 1))
    assert dataset.train_images.flags.c_contiguous
    assert dataset.classes[dataset.train_labels.max()] == "Z"
    assert data.resolve("auto-letters") == "emnist-letters"


def test_letters_to_test_on_come_in_no_order(letters_files):
    """The official file is sorted by letter; its first images must be a mixture."""
    folder, contents = letters_files
    in_order = contents[3].argsort(kind="stable")
    for name, array in zip(
        ("images-idx3", "labels-idx1"), (contents[2], contents[3]), strict=True
    ):
        put(folder, {f"emnist-letters-test-{name}-ubyte": idx(array[in_order])})
    dataset = data.load("emnist-letters")
    assert len(np.unique(dataset.test_labels[:13])) > 6
    # the images have kept their labels
    upright = contents[2].transpose(0, 2, 1)
    known = {i.tobytes(): c for i, c in zip(upright, contents[3] - 1, strict=True)}
    found = {
        i.tobytes(): c
        for i, c in zip(dataset.test_images, dataset.test_labels, strict=True)
    }
    assert found == known
    again = data.load("emnist-letters")
    np.testing.assert_array_equal(again.test_labels, dataset.test_labels)


@pytest.fixture
def archive(letters_files, server, monkeypatch):
    """A small EMNIST archive on a server, and nothing in $CAEBOOK_DATA."""
    folder, _ = letters_files
    monkeypatch.delenv("CAEBOOK_DATA")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as members:
        members.writestr("gzip/emnist-digits-mapping.txt", "of no use here")
        for path in sorted(folder.iterdir()):
            content = gzip.compress(path.read_bytes())
            members.writestr(f"gzip/{path.name}.gz", content)
    content = packed.getvalue()
    server.files["gzip.zip"] = content
    wanted = data._Archive(
        f"{server.url}gzip.zip", len(content), hashlib.md5(content).hexdigest()
    )
    monkeypatch.setattr(data, "_EMNIST_ARCHIVE", wanted)
    return server


def test_fetching_letters_announces_the_size_and_keeps_only_them(archive, capsys):
    paths = data.fetch("emnist-letters")
    assert re.search(r"downloading .*gzip.zip, \d+ MB", capsys.readouterr().err)
    assert len(paths) == 4
    assert cached() == sorted(f"emnist-letters/{path.name}" for path in paths)
    assert data.load("auto-letters").name == "emnist-letters"


def test_a_wrong_archive_is_not_kept(archive):
    content = archive.files["gzip.zip"]
    archive.files["gzip.zip"] = content[:100] + b"?" + content[101:]
    with pytest.raises(DataError, match="md5"):
        data.fetch("emnist-letters")
    assert cached() == []


def test_a_cut_archive_is_continued(archive):
    archive.cut = len(archive.files["gzip.zip"]) // 2
    with pytest.raises(DataError, match="broke off"):
        data.fetch("emnist-letters")
    assert cached() == ["emnist-letters/gzip.zip.part"]
    archive.cut = None
    data.fetch("emnist-letters")
    assert archive.asked[-1][1] is not None
    assert data.load("emnist-letters").name == "emnist-letters"


@pytest.mark.skipif(
    not (SUPPLIED / "emnist-letters-sample").is_dir(),
    reason="CAEBOOK_DATA has no emnist-letters-sample",
)
def test_the_sample_of_real_letters_is_upright(monkeypatch):
    """Mean letters look more like printed ones upright than in any other position."""
    monkeypatch.setenv("CAEBOOK_DATA", str(SUPPLIED))
    images, labels = data.read_letters_sample()
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels, minlength=26).tolist() == [800] * 12 + [400] + [0] * 13
    printed, printed_labels, _, _ = glyphs.draw("letters", train=2_600, test=26)

    def mean_letters(pictures, classes):
        means = [pictures[classes == index].mean(0) for index in range(13)]
        return np.stack(means) - pictures.mean(0)

    target = mean_letters(printed, printed_labels)
    likeness = {}
    for mirrored in (False, True):
        for turns in range(4):
            turned = np.rot90(
                images.swapaxes(1, 2) if mirrored else images, turns, (1, 2)
            )
            likeness[mirrored, turns] = np.sum(mean_letters(turned, labels) * target)
    assert max(likeness, key=likeness.get) == (False, 0), likeness


@pytest.mark.skipif(
    not (SUPPLIED / "mnist").is_dir(), reason="CAEBOOK_DATA has no mnist"
)
def test_the_real_mnist_is_sound(monkeypatch):
    monkeypatch.setenv("CAEBOOK_DATA", str(SUPPLIED))
    dataset = data.load("auto-digits")
    assert dataset.name == "mnist"
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_no_sample_is_no_error(places, monkeypatch):
    assert data.read_letters_sample() is None
    monkeypatch.setenv("CAEBOOK_DATA", str(places))
    assert data.read_letters_sample() is None


# --- the command ------------------------------------------------------------------


def test_resolve_prints_only_the_name(mnist, capsys):
    assert cli.main(["data", "resolve", "auto-digits"]) == 0
    assert capsys.readouterr().out == "glyph-digits\n"


def test_list_says_what_is_where(supplied, capsys):
    assert cli.main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*data.NAMES, *data.AUTO]
    assert str(supplied) in lines[0]
    assert "not here" in lines[1]


def test_verify_prints_checksums(supplied, mnist, capsys):
    assert cli.main(["data", "verify"]) == 0
    out = capsys.readouterr().out
    for name in NAMES:
        assert hashlib.sha256(mnist[1][name]).hexdigest() in out
    assert "mnist: sound" in out


def test_fetch_prints_files(capsys):
    assert cli.main(["data", "fetch", "glyph-digits"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == NAMES
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("command", ["verify", "fetch", "resolve", "list"])
def test_errors_are_one_line_and_a_status(supplied, command, capsys):
    path = supplied / f"{NAMES[3]}.gz"
    names = {"verify": ["mnist"], "fetch": ["mnist"], "resolve": ["auto-digits"]}
    path.unlink()
    assert cli.main(["data", command, *names.get(command, [])]) == 1
    captured = capsys.readouterr()
    said = captured.out if command == "list" else captured.err
    assert NAMES[3] in said
    if command != "list":
        assert captured.err.startswith("caebook: ")
        assert captured.err.count("\n") == 1


def test_verifying_nothing_is_an_error(capsys):
    assert cli.main(["data", "verify"]) == 1
    assert "fetch auto-digits" in capsys.readouterr().err
