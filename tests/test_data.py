"""Data sets: where they are found, and what happens when they are not sound."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import requests
from fakes import (
    NAMES,
    cached,
    change,
    flipped,
    full_disk,
    idx,
    isolate,
    make_small,
    put,
)

from caebook import cli, data
from caebook.data import glyphs
from caebook.data.registry import CLASSES
from caebook.errors import DataError, WriteError

SUPPLIED = Path(os.environ.get("CAEBOOK_DATA") or "nowhere").absolute()


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    isolate(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def mnist(monkeypatch):
    """A small data set in MNIST's place: its arrays and its files' bytes."""
    return make_small(monkeypatch, "mnist", 60, 20)


@pytest.fixture
def supplied(mnist, places, monkeypatch):
    """The small MNIST in $CAEBOOK_DATA."""
    folder = places / "data" / "mnist"
    put(folder, mnist[1])
    monkeypatch.setenv("CAEBOOK_DATA", str(folder.parent))
    return folder


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
def test_a_damaged_supplied_file_is_named_and_never_replaced(supplied, mnist, name):
    path, damaged = supplied / name, flipped(mnist[1][name])
    path.write_bytes(damaged)
    # nor does the stand-in replace it
    uses = ((data.load, "mnist"), (data.fetch, "mnist"), (data.resolve, "auto-digits"))
    for use, asked in uses:
        with pytest.raises(DataError, match="checksum mismatch") as caught:
            use(asked)
        assert str(path) in str(caught.value)
        assert "replace it" in str(caught.value)
    assert path.read_bytes() == damaged
    assert cached() == []


def test_a_missing_file_is_named(supplied):
    (supplied / NAMES[1]).unlink()
    for use, asked in ((data.load, "mnist"), (data.resolve, "auto-digits")):
        with pytest.raises(DataError, match=f"mnist: {NAMES[1]} missing") as caught:
            use(asked)
        assert str(supplied) in str(caught.value)


def test_an_empty_folder_of_the_data_sets_name_is_an_error(supplied):
    shutil.rmtree(supplied)
    supplied.mkdir()
    with pytest.raises(DataError, match=f"mnist: {', '.join(NAMES)} missing"):
        data.locate("mnist")


def test_data_variable_must_name_a_folder(monkeypatch, places):
    monkeypatch.setenv("CAEBOOK_DATA", str(places / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere.*no such folder"):
        data.load("mnist")


# Where the files are, and what CAEBOOK_DATA is.
LAYOUTS = {
    "a folder of its name": ("data/mnist", "data"),
    "torchvision's root": ("data/MNIST/raw", "data"),
    "torchvision's folder": ("data/MNIST/raw", "data/MNIST"),
    "torchvision's raw folder": ("data/MNIST/raw", "data/MNIST/raw"),
    "the files themselves": ("anywhere", "anywhere"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_people_have_are_understood(mnist, places, monkeypatch, layout):
    files, variable = (places / place for place in LAYOUTS[layout])
    put(files, mnist[1])
    (files / "unzipped").mkdir()
    monkeypatch.setenv("CAEBOOK_DATA", str(variable))
    assert data.locate("mnist") == files
    assert data.resolve("auto-digits") == "mnist"
    assert data.locate("emnist-letters") is None


@pytest.mark.parametrize("beside", [True, False])
def test_kaggles_layout_is_understood(mnist, places, monkeypatch, beside):
    """Each file is in a folder of its own name, and perhaps beside that folder too."""
    folder = places / "archive"
    for name, content in mnist[1].items():
        put(folder / name, {name: flipped(content) if beside else content})
        if beside:
            put(folder, {name.replace("-idx", ".idx"): content})
    monkeypatch.setenv("CAEBOOK_DATA", str(folder))
    np.testing.assert_array_equal(data.load("mnist").train_images, mnist[0][0])


def test_not_here_names_the_variable_and_every_place(places, monkeypatch):
    (places / "data").mkdir()
    for variable in (None, places / "data"):
        if variable:
            monkeypatch.setenv("CAEBOOK_DATA", str(variable))
        for name, use in (("mnist", data.load), ("emnist-letters", data.verify)):
            with pytest.raises(DataError) as caught:
                use(name)
            searched = [data.cache_folder() / name]
            if variable:
                layouts = (name, name.split("-")[0].upper() + "/raw", "raw")
                searched += [variable / layout for layout in layouts]
            state = f"CAEBOOK_DATA is {variable or 'not set'}"
            assert f"{name} is not here; {state}" in str(caught.value)
            for place in searched:
                assert f"{place}," in f"{caught.value},".replace(";", ",")


def test_labels_outside_the_classes_are_refused(letters_files):
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


def test_without_a_network_the_stand_in_is_used_and_announced(mnist, caplog):
    assert data.resolve("auto-digits") == "glyph-digits"
    assert "no answer from" in caplog.text
    assert "glyph-digits is used instead of mnist" in caplog.text
    dataset = data.load("auto-digits")
    assert dataset.stand_in
    assert dataset.name == "glyph-digits"


def test_auto_letters_are_the_drawn_ones(letters_files, monkeypatch):
    """Even where EMNIST is, and without drawing, reading or downloading anything."""

    def refuse(*arguments, **options):
        raise AssertionError("went to the network")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests, "head", refuse)
    assert data.resolve("auto-letters") == "glyph-letters"
    assert cached() == []
    assert data.load("auto-letters").name == "glyph-letters"
    assert data.load("emnist-letters").name == "emnist-letters"


def test_emnist_is_downloaded_only_on_request(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("went to the network")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests, "head", refuse)
    with pytest.raises(DataError, match=r"fetch emnist-letters.*562 MB"):
        data.load("emnist-letters")


def test_names_are_known_without_numpy():
    """The command lists them in its help, which must not take a second."""
    code = "import sys, caebook.data; print(caebook.data.NAMES, 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == f"{data.NAMES} False\n"


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
    assert first.classes == CLASSES["letters"]

    def refuse(*arguments, **options):
        raise AssertionError("drawn twice")

    monkeypatch.setattr(glyphs, "draw", refuse)
    second = data.load("glyph-letters")
    np.testing.assert_array_equal(first.train_images, second.train_images)
    assert first.sha256 == second.sha256
    folder = data.cache_folder() / "glyph-letters"
    together = b"".join((folder / name).read_bytes() for name in NAMES)
    assert hashlib.sha256(together).hexdigest() == first.sha256


@pytest.mark.parametrize("victim", [NAMES[0], "drawn.json"])
@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_damaged_stand_in_is_drawn_again(victim, damage, caplog):
    sound = data.load("glyph-digits")
    path = data.cache_folder() / "glyph-digits" / victim
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(flipped(content))
    with pytest.raises(DataError, match="fetch glyph-digits") as caught:
        data.verify("glyph-digits")
    assert str(path) in str(caught.value)
    assert data.load("glyph-digits").sha256 == sound.sha256
    assert str(path) in caplog.text
    assert path.read_bytes() == content
    assert len(cached()) == 5


def test_a_stand_in_by_another_version_is_drawn_again(monkeypatch):
    data.load("glyph-digits")
    change(monkeypatch, "glyph-digits", version=2)
    with pytest.raises(DataError, match="other versions"):
        data.verify("glyph-digits")
    data.load("glyph-digits")
    data.verify("glyph-digits")


def test_what_a_killed_drawing_left_is_removed():
    put(data.cache_folder() / ".glyph-digits-abc", {NAMES[0]: b"half"})
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


def test_a_cache_that_cannot_be_made_is_an_error(mnist, places, monkeypatch):
    (places / "file").write_text("in the way")
    monkeypatch.setenv("CAEBOOK_CACHE", str(places / "file" / "cache"))
    for name in ("glyph-digits", "mnist", "auto-digits", "auto-letters"):
        with pytest.raises(WriteError, match="set CAEBOOK_CACHE") as caught:
            data.load(name)
        assert str(places / "file") in str(caught.value)


def test_sound_data_are_read_without_writing_to_the_cache(mnist):
    """The lock cannot be taken, as in a cache that is read-only."""
    put(data.cache_folder() / "mnist", mnist[1])
    drawn = data.load("glyph-digits")
    for name in ("mnist", "glyph-digits"):
        lock = data.cache_folder() / f"{name}.lock"
        lock.unlink(missing_ok=True)
        lock.mkdir()
    assert data.resolve("auto-digits") == "mnist"
    assert data.load("glyph-digits").sha256 == drawn.sha256
    (data.cache_folder() / "glyph-digits" / NAMES[0]).unlink()
    with pytest.raises(WriteError, match="cannot be written") as caught:
        data.load("glyph-digits")
    assert str(lock) in str(caught.value)


def test_a_full_disk_leaves_no_half_stand_in():
    with full_disk(20_000), pytest.raises(WriteError, match="free some space") as error:
        data.load("glyph-digits")
    assert str(data.cache_folder() / "glyph-digits") in str(error.value)
    assert cached() == []


# --- EMNIST -----------------------------------------------------------------------


@pytest.fixture
def letters_files(places, monkeypatch):
    """A small EMNIST Letters in $CAEBOOK_DATA: its folder and its arrays."""
    arrays, raw = make_small(monkeypatch, "emnist-letters", 78, 52)
    folder = places / "data" / "emnist-letters"
    put(folder, raw)
    monkeypatch.setenv("CAEBOOK_DATA", str(folder.parent))
    return folder, arrays


def test_letters_are_upright_and_count_from_zero(letters_files):
    _, contents = letters_files
    dataset = data.load("emnist-letters")
    np.testing.assert_array_equal(dataset.train_images, contents[0].transpose(0, 2, 1))
    assert dataset.train_images.flags.c_contiguous
    assert dataset.classes[dataset.train_labels.max()] == "Z"


def test_test_letters_are_shuffled(letters_files):
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
    printed, printed_labels, _, _ = glyphs.draw("letters", train=1_040, test=26)

    def mean_letters(letters, classes):
        means = [letters[classes == index].mean(0) for index in range(13)]
        return np.stack(means) - letters.mean(0)

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


def test_resolve_prints_the_name_and_says_why_on_standard_error(places):
    code = (
        "import pathlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import fakes, pytest\n"
        "from caebook import cli\n"
        "fakes.isolate(pathlib.Path(sys.argv[2]), pytest.MonkeyPatch())\n"
        "sys.exit(cli.main(['data', 'resolve', 'auto-digits']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(places)],
        capture_output=True,
        text=True,
    )
    assert run.stdout == "glyph-digits\n"
    assert "auto-digits: glyph-digits is used instead of mnist" in run.stderr


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
    path = supplied / NAMES[3]
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
