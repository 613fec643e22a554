"""The `caebook` command: images in files, .cae files, models, and what it prints."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import version1
from fakes import idx
from PIL import Image

from caebook import cli, codec, data
from caebook.codec import image_files, locate
from caebook.evaluation import metrics
from caebook.files import root

IMAGES = tiny.images(40)
DATA = Path(__file__).with_name("data")
COMMAND = [sys.executable, "-m", "caebook.cli"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> codec.Model:
    """16 numbers of 4 bits. Tests must not change its folder."""
    return tiny.make_model(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder, and no models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path / "none"))
    monkeypatch.setattr(locate, "MODELS_FOLDER", tmp_path / "none")
    return tmp_path


@pytest.fixture
def default(model, monkeypatch, here) -> codec.Model:
    """The tiny model in the place of the one that comes with the package."""
    monkeypatch.setattr(locate, "MODELS_FOLDER", model.run.folder.parent)
    monkeypatch.setattr(locate, "DEFAULT_MODEL", model.id)
    return model


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def put_pngs(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:02d}.png")
    return folder


def put(here: Path, kind: str) -> Path:
    """The images as a file or folder."""
    if kind == "folder":
        return put_pngs(here / "in", IMAGES)
    path = here / f"in.{kind}"
    if kind == "npy":
        np.save(path, IMAGES)
    else:
        content = idx(IMAGES)
        path.write_bytes(gzip.compress(content) if kind == "gz" else content)
    return path


def read(path: Path) -> np.ndarray:
    return np.array(image_files.read_images([path]).images)


# --- compress and decompress ------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "npy", "idx", "gz"])
def test_images_are_compressed_from_each_format(default, here, kind, capsys):
    assert run("compress", put(here, kind)) == 0
    size = (here / "in.cae").stat().st_size
    assert f"40 images, {size} bytes; {size / 40:.2f} bytes" in capsys.readouterr().out
    assert (here / "in.cae").read_bytes() == codec.compress(IMAGES, default)


def test_images_are_decompressed_to_each_format(default, here):
    """The files are what other programs expect, and can be compressed again."""
    (here / "in.cae").write_bytes(codec.compress(IMAGES, default))
    for target in ("out.npy", "out.idx", "out-ubyte", "out"):
        assert run("decompress", "in.cae", "-o", target) == 0
    wanted = default.images(default.symbols(IMAGES))
    for target in ("out.npy", "out.idx", "out-ubyte", "out"):
        assert (read(here / target) == wanted).all()
    assert (np.load("out.npy") == wanted).all()
    assert Path("out.idx").read_bytes() == idx(wanted)
    assert sorted(os.listdir("out"))[::39] == ["00.png", "39.png"]
    assert (np.asarray(Image.open("out/39.png")) == wanted[39]).all()


def test_a_single_image(default, here):
    folder = put_pngs(here / "in", IMAGES)
    assert run("compress", folder / "03.png") == 0
    assert run("decompress", folder / "03.cae", "-o", "03.png") == 0
    assert read(here / "03.png").shape == (1, 28, 28)
    np.save("one.npy", IMAGES[3])
    assert run("compress", "one.npy") == 0
    assert run("decompress", "one.cae") == 0
    assert (read(here / "one.png") == read(here / "03.png")).all()
    assert (here / "one.cae").read_bytes() == (folder / "03.cae").read_bytes()


def test_a_single_image_in_a_folder(default, here):
    (here / "one.cae").write_bytes(codec.compress(IMAGES[:1], default))
    assert run("decompress", "one.cae", "-o", "out/") == 0
    assert os.listdir(here / "out") == ["one.png"]
    assert run("decompress", "one.cae", "-o", "out") == 1  # it holds a file
    assert run("compress", "out") == 0


def test_a_link_stays_and_its_target_is_replaced(default, here):
    put(here, "npy")
    (here / "real").write_bytes(b"old")
    (here / "link").symlink_to("real")
    assert run("compress", "in.npy", "-o", "link") == 1
    assert run("compress", "in.npy", "-o", "link", "--force") == 0
    assert (here / "link").is_symlink()
    assert (here / "real").read_bytes() == codec.compress(IMAGES, default)


@pytest.mark.parametrize(("source", "at"), [(".", "in"), ("..", "in/.hidden")])
def test_the_output_stands_beside_the_input(default, here, source, at, monkeypatch):
    put_pngs(here / "in", IMAGES)
    (here / "in" / ".hidden").mkdir()
    monkeypatch.chdir(here / at)
    assert run("compress", source) == 0
    assert (here / "in.cae").read_bytes() == codec.compress(IMAGES, default)


def test_several_files_and_the_adaptive_coder(default, here):
    folder = put_pngs(here / "in", IMAGES)
    paths = [folder / "07.png", folder / "02.png"]
    assert run("compress", *paths, "-o", "two.cae", "--coder", "adaptive") == 0
    content = (here / "two.cae").read_bytes()
    names = ["07.png", "02.png"]
    parts = codec.compressed(
        IMAGES[[7, 2]], default, "adaptive", None, 9, file_names=names
    )
    assert content == b"".join(parts)
    assert run("decompress", "two.cae") == 0
    assert read(here / "two.npy").shape == (2, 28, 28)


def test_files_are_not_replaced_without_force(default, here, capsys):
    np.save("in.npy", IMAGES)
    assert run("compress", "in.npy") == 0
    Path("in.cae").write_bytes(b"kept")
    assert run("compress", "in.npy") == 1
    assert "--force" in capsys.readouterr().err
    assert Path("in.cae").read_bytes() == b"kept"
    assert run("compress", "in.npy", "--force") == 0
    for target in ("out.npy", "out.idx"):
        Path(target).write_bytes(b"kept")
        assert run("decompress", "in.cae", "-o", target) == 1
        assert "--force" in capsys.readouterr().err
        assert Path(target).read_bytes() == b"kept"
        assert run("decompress", "in.cae", "-o", target, "--force") == 0
    assert (read(here / "out.npy") == read(here / "out.idx")).all()


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(default, here, capsys):
    """Images of an earlier, longer file must not stay among the new ones."""
    Path("in.cae").write_bytes(codec.compress(IMAGES, default))
    earlier = put_pngs(here / "out", IMAGES[:30] * 0)
    assert run("decompress", "in.cae", "-o", "out") == 1
    assert "--force" in capsys.readouterr().err
    assert run("decompress", "in.cae", "-o", "out", "--force") == 0
    assert (read(earlier) == default.images(default.symbols(IMAGES))).all()
    Path("short.cae").write_bytes(codec.compress(IMAGES[:20], default))
    assert run("decompress", "short.cae", "-o", "out", "--force") == 1
    assert "20.png, 21.png, 22.png and 17 more" in capsys.readouterr().err
    assert len(os.listdir("out")) == 40
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine")
    assert run("decompress", "in.cae", "-o", "mine", "--force") == 1
    assert "holds other files (notes.txt)" in capsys.readouterr().err
    assert os.listdir("mine") == ["notes.txt"]


def test_limits_and_formats_are_options(default, here, capsys):
    Path("in.cae").write_bytes(codec.compress(IMAGES, default))
    assert run("decompress", "in.cae", "--max-images", 39) == 1
    assert "the limit is 39" in capsys.readouterr().err
    assert run("decompress", "in.cae", "-o", "out.jpg") == 1
    assert "--format" in capsys.readouterr().err
    assert run("decompress", "in.cae", "--format", "png") == 0
    assert len(list((here / "in").iterdir())) == 40
    assert run("decompress", "in.cae", "--format", "idx") == 0
    assert (here / "in.idx").read_bytes()[:4] == b"\0\0\x08\x03"


# --- order and names --------------------------------------------------------------

NAMES = [f"{number}.png" for number in range(1, 13)]


def put_named(folder: Path, names: list[str], images: np.ndarray = IMAGES) -> Path:
    folder.mkdir()
    for name, image in zip(names, images, strict=False):
        Image.fromarray(image).save(folder / name, "PNG")
    return folder


def test_numbered_names_are_sorted_by_their_numbers(here):
    names = ["2.png", "b", "10.png", "a10b2.png", "a9b11.png", "a9b9.png", "01.png"]
    wanted = ["01.png", "2.png", "10.png", "a9b9.png", "a9b11.png", "a10b2.png", "b"]
    put_named(here / "in", names)
    assert image_files.read_images([here / "in"]).names == wanted


def names_in(path: str) -> list[str] | None:
    """The names of the images that a file holds."""
    with open(path, "rb") as file:
        return codec.examine(file).names


def test_names_and_order_are_restored(default, here, capsys):
    put_named(here / "in", NAMES)
    assert run("compress", "in") == 0
    assert "bytes of names" in capsys.readouterr().out
    assert names_in("in.cae") == NAMES
    assert run("decompress", "in.cae", "-o", "out") == 0
    assert "12 images with their names" in capsys.readouterr().out
    assert set(os.listdir("out")) == set(NAMES)
    wanted = default.images(default.symbols(IMAGES[:12]))
    for name, image in zip(NAMES, wanted, strict=True):
        assert (np.asarray(Image.open(f"out/{name}")) == image).all()
    # Files that are given one by one keep their order.
    assert run("compress", "in/7.png", "in/2.png", "-o", "two.cae") == 0
    assert names_in("two.cae") == ["7.png", "2.png"]
    assert run("compress", "in", "--no-names", "-o", "none.cae") == 0
    assert names_in("none.cae") is None
    assert run("decompress", "none.cae", "-o", "numbered") == 0
    assert sorted(os.listdir("numbered"))[::11] == ["00.png", "11.png"]


def test_names_that_decompressing_gives_anyway_are_not_stored(default, here):
    put_pngs(here / "in", IMAGES)
    put_named(here / "seven", ["seven.png"])
    assert run("compress", "in") == run("compress", "seven/seven.png") == 0
    assert names_in("in.cae") is names_in("seven/seven.cae") is None


def test_names_that_cannot_be_restored_are_reported(default, here, capsys):
    (here / "b").mkdir()
    put_named(here / "a", ["x.png"])
    put_named(here / "b" / "c", ["X.png"])
    assert run("compress", "a/x.png", "b/c/X.png", "-o", "x.cae") == 0
    assert "upper and lower case" in capsys.readouterr().err
    assert names_in("x.cae") is None


def damaged_names(content: dict) -> dict[str, tuple[object, str]]:
    """Contents for a file of names, and part of the warning."""

    def named(*names: object) -> dict:
        return {**content, "names": [*names, *NAMES[len(names) :]]}

    return {
        "not JSON": ("{", "is damaged"),
        "not an object": ([], "is damaged"),
        "deeply nested": ("[" * 100_000, "is damaged"),
        "no names": ({"schema": 1}, "is damaged"),
        "another schema": ({**content, "schema": 2}, "not of schema 1"),
        "another file": ({**content, "sha256": "0" * 64}, "names of another file"),
        "one name less": ({**content, "names": NAMES[:-1]}, "11 names for 12 images"),
        "a text": ({**content, "names": "abcdefghijkl"}, "must be a list"),
        "a number": (named(1), "must be a list"),
        "a path": (named("../1.png"), "hidden"),
        "another path": (named("a/1.png"), "not allowed"),
        "a backslash": (named("a\\1.png"), "not allowed"),
        "NUL": (named("1.png\0"), "not allowed"),
        "empty": (named(""), "empty"),
        "this folder": (named("."), "hidden"),
        "twice": (named("x.png", "X.png"), "equal"),
        "long": (named("x" * 256), "too long"),
    }


def put_version_1(default: codec.Model) -> dict:
    """A file of version 1, ``in.cae``, and names that fit it."""
    content = version1.compress(IMAGES[:12], default)
    Path("in.cae").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return {"schema": 1, "sha256": sha256, "names": NAMES}


def test_names_beside_a_file_of_version_1_are_restored(default, here, capsys):
    sound = put_version_1(default)
    assert run("decompress", "in.cae", "-o", "numbered") == 0
    assert sorted(os.listdir("numbered"))[::11] == ["00.png", "11.png"]
    Path("in.names.json").write_text(json.dumps(sound))
    assert run("decompress", "in.cae", "-o", "out") == 0
    assert "12 images with their names" in capsys.readouterr().out
    assert set(os.listdir("out")) == set(NAMES)
    assert run("info", "in.cae") == 0
    assert "in in.names.json" in capsys.readouterr().out


def test_the_last_files_of_version_1_are_read(there, capsys):
    for coder in codec.CODERS:
        source = DATA / f"version-1-{coder}.cae"
        assert run("decompress", source, "-o", coder) == 0
        assert "12 images with their names" in capsys.readouterr().out
        with np.load(DATA / "version-1.npz") as file:
            wanted = file["images"].astype(int)
        for number, image in enumerate(wanted, 1):
            found = np.asarray(Image.open(f"{coder}/digit {number}.png")).astype(int)
            assert np.abs(found - image).max() <= 1


def test_damaged_names_give_a_warning_and_numbers(default, here, capsys):
    path = Path("in.names.json")
    for name, (content, says) in damaged_names(put_version_1(default)).items():
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        capsys.readouterr()
        assert run("decompress", "in.cae", "-o", f"{name} out") == 0, name
        warning = capsys.readouterr().err
        assert says in warning and "numbered instead" in warning, (name, warning)
        assert sorted(os.listdir(f"{name} out"))[::11] == ["00.png", "11.png"]
    assert not Path("1.png").exists()  # "../1.png" would have written it


# --- warnings about images --------------------------------------------------------


def strokes() -> np.ndarray:
    """White strokes and rings on black that the default model reconstructs: 19."""
    with np.load(DATA / "earlier.npz") as file:
        return np.delete(file["originals"], 9, axis=0)


def warning_for(images: np.ndarray, capsys, *options: str) -> str:
    """What compressing with the package's model prints on standard error."""
    np.save("in.npy", images)
    assert run("compress", "in.npy", "--force", *options) == 0
    return capsys.readouterr().err


@pytest.fixture
def there(tmp_path, monkeypatch) -> Path:
    """An empty current folder, with the package's own model."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_white_ink_on_black_gives_no_warning(there, capsys):
    assert warning_for(strokes(), capsys) == ""


def test_black_ink_on_white_paper_is_named_and_inverted(there, capsys):
    says = warning_for(255 - strokes(), capsys)
    assert "19 of 19 images (index 0, 1, 2 and 16 more) have a bright border" in says
    assert "--invert" in says and says.count("\n") == 1
    assert warning_for(255 - strokes(), capsys, "--invert") == ""
    inverted = Path("in.cae").read_bytes()
    assert warning_for(strokes(), capsys) == ""
    assert Path("in.cae").read_bytes() == inverted
    assert run("decompress", "in.cae", "-o", "out.npy", "--invert") == 0
    assert (np.load("out.npy") == 255 - codec.decompress(inverted)).all()
    folder = put_named(there / "paper", NAMES, strokes())
    Image.fromarray(255 - strokes()[3]).save(folder / "4.png")
    assert run("compress", "paper") == 0
    assert "images (4.png) has a bright border" in capsys.readouterr().err


def test_zeros_and_ones_are_reported(there, capsys):
    says = warning_for((strokes() > 127).astype(np.uint8), capsys)
    assert "no pixel is above 1" in says and "multiply them by 255" in says
    assert warning_for((strokes() > 127).astype(np.uint8) * 255, capsys) == ""


def test_reconstructions_worse_than_a_flat_image_are_named(there, capsys):
    images = strokes()
    images[[5, 7]] //= 5  # too dark for the model
    says = warning_for(images, capsys)
    assert "2 of 19 images (index 5, 7) have a reconstruction that is worse" in says
    assert "the image has a reconstruction" in warning_for(images[5:6], capsys)


def real_digits() -> np.ndarray:
    folder = os.environ.get("CAEBOOK_DATA", "")
    if not folder or not os.path.isdir(os.path.join(folder, "mnist")):
        pytest.skip("real MNIST needed: set CAEBOOK_DATA")
    return data.load("mnist").test_images


def test_transposed_digits_are_reported(there, capsys):
    digits = real_digits()[:200]
    assert warning_for(digits, capsys) == ""
    says = warning_for(digits.transpose(0, 2, 1), capsys)
    assert "seem to be transposed" in says and says.count("\n") == 1


def test_check_prints_the_scores_of_the_written_file(there, capsys):
    np.save("in.npy", strokes())
    assert run("compress", "in.npy", "--check") == 0
    found = codec.decompress(Path("in.cae").read_bytes())
    mse, uqi = metrics.mse(strokes(), found), metrics.uqi(strokes(), found)
    wanted = f"MSE {mse.mean():.4f} (white is 1), UQI {uqi.mean():.3f}; means of 19"
    assert wanted in capsys.readouterr().out


# --- invalid input ----------------------------------------------------------------


def conversions() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Arrays that must be converted, and what the conversion must give."""
    images = strokes()[:5]
    binary = images > 127
    return {
        "channels last": (images[..., None], images),
        "channels first": (images[:, None], images),
        "flat": (images.reshape(5, 784), images),
        "one flat": (images[0].reshape(784), images[:1]),
        "images last": (images.transpose(1, 2, 0), images),
        "unit floats": (images / 255, images),
        "flat floats": ((images / 255).astype(np.float32).reshape(5, 784), images),
        "grey floats": (images.astype(np.float32), images),
        "signed floats": (images / 127.5 - 1, images),
        "integers": (images[..., None].astype(np.int64), images),
        "truth values": (binary, binary * np.uint8(255)),
    }


def test_arrays_are_refused_with_the_line_that_converts_them(there, capsys):
    for name, (array, wanted) in conversions().items():
        np.save("in.npy", array)
        assert run("compress", "in.npy") == 1, name
        says = capsys.readouterr().err
        line = says.partition("convert it with: ")[2].strip()
        exec(line, {"np": np})
        assert (np.load("in-uint8.npy") == wanted).all(), (name, line)
        assert run("compress", "in-uint8.npy", "--force") == 0, name
    for array in (np.full((2, 28, 28), np.nan), np.zeros((2, 28, 28), complex)):
        np.save("in.npy", array)
        assert run("compress", "in.npy") == 1
        assert "convert it first" in capsys.readouterr().err


def test_labels_are_recognised(here, capsys):
    labels = np.arange(10, dtype=np.uint8)
    Path("labels.idx").write_bytes(idx(labels))
    Path("labels.gz").write_bytes(gzip.compress(idx(labels)))
    np.save("labels.npy", labels)
    for name in ("labels.idx", "labels.gz", "labels.npy"):
        assert run("compress", name) == 1
        says = capsys.readouterr().err
        assert "labels" in says.partition(": ")[2].partition(": ")[2], says
    Path("float.idx").write_bytes(b"\0\0\x0d\x03" + idx(IMAGES)[4:])
    assert run("compress", "float.idx") == 1
    assert "IDX file of float32 with 3 axes" in capsys.readouterr().err


def bad_inputs(here: Path, good: str) -> dict[str, tuple[list[str], str]]:
    """Commands that must fail, and part of their error messages."""
    folder = put_pngs(here / "pngs", IMAGES[:2])
    grey = Image.fromarray(IMAGES[0])
    grey.convert("RGB").save(here / "rgb.png")
    grey.resize((27, 28)).save(here / "narrow.png")
    (here / "cut.png").write_bytes((folder / "00.png").read_bytes()[:60])
    put_pngs(here / "mixed", IMAGES[:2])
    (here / "mixed" / "notes.txt").write_text("mine")
    (here / "empty").mkdir()
    np.save(here / "float.npy", IMAGES / 255)
    np.save(here / "flat.npy", IMAGES.reshape(40, 784))
    np.save(here / "none.npy", IMAGES[:0])
    np.save(here / "objects.npy", np.array([{}]), allow_pickle=True)
    (here / "cut.npy").write_bytes((here / "float.npy").read_bytes()[:500])
    (here / "cut.idx").write_bytes(idx(IMAGES)[:-5])
    (here / "head.idx").write_bytes(idx(IMAGES)[:9])
    (here / "wide.idx").write_bytes(idx(IMAGES.reshape(20, 56, 28)))
    (here / "no images.idx").write_bytes(idx(IMAGES[:0]))
    (here / "huge.idx").write_bytes(b"\0\0\x08\x03\xff\xff\xff\xff" + idx(IMAGES)[8:])
    (here / "bad.gz").write_bytes(gzip.compress(idx(IMAGES))[:-30])
    (here / "text.txt").write_text("nothing")
    (here / "junk.cae").write_text("nothing")
    np.save(here / "good.npy", IMAGES)
    (here / "good.npy.gz").write_bytes(gzip.compress((here / "good.npy").read_bytes()))
    (here / "twice.npy").write_bytes((here / "good.npy").read_bytes() * 2)
    moving = {"save_all": True, "append_images": [Image.fromarray(IMAGES[1])]}
    grey.save(here / "moving.png", **moving)
    (here / "sound.cae").write_bytes(codec.compress(IMAGES, codec.find_model(good)))
    os.mkfifo(here / "pipe")
    (here / "dangling").symlink_to("nowhere")
    long = "x" * 300  # no file system takes it, and pathlib raises
    return {
        "pipe": (["compress", "pipe"], "a pipe or a device"),
        "pipe.cae": (["info", "pipe"], "a pipe or a device"),
        "to pipe": (["compress", "good.npy", "-o", "pipe", "--force"], "a pipe"),
        "to link": (
            ["compress", "good.npy", "-o", "dangling", "--force"],
            "a broken link",
        ),
        "long input": (["compress", long, "-o", "x"], "cannot be read"),
        "long output": (["compress", "good.npy", "-o", long], "cannot be written"),
        "long model": (["compress", "good.npy", "-m", long], "neither a model's"),
        "block": (["compress", "good.npy", "--block", "16385"], "16,384 at most"),
        "long folder": (["decompress", "sound.cae", "-o", long], "cannot be written"),
        "npy.gz": (["compress", "good.npy.gz"], "only IDX files may be"),
        "twice": (["compress", "twice.npy"], "more than one array"),
        "moving": (["compress", "moving.png"], "animated"),
        "no model": (["compress", "good.npy", "-m", "rgb.png"], "not a zip file"),
        "one png": (["decompress", "sound.cae", "-o", "x.png"], "40 images do not fit"),
        "onto file": (["decompress", "sound.cae", "-o", "pipe"], "is not a folder"),
        "no such file": (["compress", "nix.png"], "nix.png: cannot be read"),
        "rgb": (["compress", "rgb.png"], "mode RGB"),
        "narrow": (["compress", "narrow.png"], "27×28"),
        "cut png": (["compress", "cut.png"], "cut.png: cannot be read"),
        "mixed": (["compress", "mixed"], "notes.txt: is not a PNG file; a folder"),
        "empty": (["compress", "empty"], "holds no files"),
        "float": (["compress", "float.npy"], "float64"),
        "flat": (["compress", "flat.npy"], "(40, 784)"),
        "none": (["compress", "none.npy"], "holds no images"),
        "objects": (["compress", "objects.npy"], "objects.npy: cannot be read"),
        "cut npy": (["compress", "cut.npy"], "cut.npy: cannot be read"),
        "cut idx": (["compress", "cut.idx"], "truncated"),
        "head idx": (["compress", "head.idx"], "truncated"),
        "wide idx": (["compress", "wide.idx"], "28×56"),
        "empty idx": (["compress", "no images.idx"], "holds no images"),
        "huge idx": (["compress", "huge.idx"], "4,294,967,295"),
        "gz": (["compress", "bad.gz"], "truncated"),
        "text": (["compress", "text.txt"], "is not a PNG, an NPY or an IDX"),
        "two kinds": (["compress", "pngs/00.png", "good.npy", "-o", "x"], "good.npy"),
        "two": (["compress", "rgb.png", "narrow.png"], "-o"),
        "model": (["compress", "good.npy", "-m", "nix"], "neither a model's name"),
        "id": (["compress", "good.npy", "-m", "a-b-s0:uniform1"], "models here are"),
        "nowhere": (["compress", "good.npy", "-o", "nix/x.cae"], "nix is missing"),
        "onto folder": (["compress", "good.npy", "-o", "empty"], "is a folder"),
        "junk": (["decompress", "junk.cae"], "junk.cae: this is not a .cae file"),
        "no file": (["decompress", "nix.cae"], "nix.cae: cannot be read"),
        "folder": (["info", "empty"], "empty: cannot be read"),
    }


def test_invalid_input_gives_one_line_and_status_1(default, here, capsys):
    cases = bad_inputs(here, default.id)
    before = sorted(path for path in here.rglob("*"))
    for name, (command, says) in cases.items():
        assert run(*command) == 1, name
        captured = capsys.readouterr()
        assert captured.err.startswith("caebook: "), name
        assert captured.err.count("\n") == 1 and says in captured.err, captured.err
        assert sorted(path for path in here.rglob("*")) == before, name


@pytest.mark.parametrize(
    "command",
    [
        ["compress"],
        ["compress", "in.npy", "--coder", "best"],
        ["decompress", "in.cae", "--max-images", "0"],
        ["decompress", "in.cae", "--format", "jpg"],
        ["model", "make", "run", "--bits", "9"],
        ["info"],
        ["model"],
        ["compress", "-"],
        ["compress", "in.npy", "--block", "0"],
        ["decompress", "in.cae", "-o", "-"],
        ["info", ""],
    ],
)
def test_wrong_usage_gives_status_2(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 2
    assert "usage: caebook" in capsys.readouterr().err


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_damaged_file_leaves_no_output(default, here, capsys):
    """The damage is in the stream, so it is found after writing has begun."""
    content = version1.compress(IMAGES, default)
    Path("in.cae").write_bytes(version1.seal(flip(content, 32 + len(default.id) + 9)))
    for target in ("out.npy", "out"):
        assert run("decompress", "in.cae", "-o", target) == 1
        assert capsys.readouterr().err.startswith("caebook: in.cae: a stream")
        assert [path.name for path in here.iterdir()] == ["in.cae"]


def test_the_sound_images_of_a_damaged_file_are_salvaged(default, here, capsys):
    put_named(here / "in", NAMES)
    assert run("compress", "in", "--block", 5) == 0
    content = Path("in.cae").read_bytes()
    capsys.readouterr()
    assert run("decompress", "in.cae", "-o", "sound", "--salvage") == 0
    assert capsys.readouterr().err == ""
    Path("in.cae").write_bytes(flip(content, len(content) - 6))
    assert run("decompress", "in.cae", "-o", "out") == 1
    assert not Path("out").exists()
    for target in ("out", "out.npy"):
        assert run("decompress", "in.cae", "-o", target, "--salvage") == 3
        said = capsys.readouterr().err
        assert "block 6 is damaged" in said and "the 10 images before" in said
    assert set(os.listdir("out")) == set(NAMES[:10])
    wanted = default.images(default.symbols(IMAGES[:12]))
    assert (np.load("out.npy") == wanted[:10]).all()
    Path("in.cae").write_bytes(content[:40])
    assert run("decompress", "in.cae", "-o", "none", "--salvage") == 1
    assert "no image can be saved" in capsys.readouterr().err
    assert not Path("none").exists()
    Path("old.cae").write_bytes(version1.compress(IMAGES, default)[:-1])
    assert run("decompress", "old.cae", "-o", "none", "--salvage") == 1


def test_files_go_through_pipes(there):
    """Bytes alone on standard output; reports and warnings on standard error."""
    np.save("in.npy", strokes())
    compress = [*COMMAND, "compress", "in.npy", "-o", "-", "--check"]
    made = subprocess.run(compress, capture_output=True, check=True)
    assert b"19 images" in made.stderr and b"MSE" in made.stderr
    assert made.stdout == codec.compress(strokes(), codec.find_model())

    def read(*arguments: str, content: bytes = made.stdout):
        command = [*COMMAND, *arguments]
        return subprocess.run(command, input=content, capture_output=True)

    found = read("info", "-")
    assert found.returncode == 0 and b"19 of 28" in found.stdout
    assert read("decompress", "-", "-o", "out.npy").returncode == 0
    assert (np.load("out.npy") == codec.decompress(made.stdout)).all()
    assert read("decompress", "-", "-o", "out").returncode == 0
    assert len(os.listdir("out")) == 19
    for arguments, content, says in (
        (["decompress", "-"], made.stdout, b"name the output with -o"),
        (["info", "-"], b"nothing", b"standard input: this is not a .cae file"),
        (["info", "-"], made.stdout[:-1], b"standard input: truncated"),
    ):
        failed = read(*arguments, content=content)
        assert failed.returncode == 1 and says in failed.stderr
    assert read("decompress", "-", "-o", "-").returncode == 2
    old = (DATA / "version-1-static.cae").read_bytes()
    assert read("decompress", "-", "-o", "old.npy", content=old).returncode == 0
    assert np.load("old.npy").shape == (12, 28, 28)


TYPES = ["u1", "i1", "?", "<i8", ">i2", "<f2", "<f8", "<c8", "U3", "O"]
SHAPES = [
    (3, 28, 28), (1, 28, 28), (28, 28), (0, 28, 28), (), (5,), (0,), (784,), (2, 784),
    (2, 28, 28, 1), (2, 1, 28, 28), (28, 28, 3), (2, 27, 28), (2, 28, 0),
]  # fmt: skip
MODES = ["L", "1", "RGB", "P", "I;16", "LA"]


def any_inputs(folder: Path) -> list[Path]:
    """Files of every type, shape and mode."""
    rng, paths = np.random.default_rng(0), []

    def new() -> Path:
        paths.append(folder / f"input {len(paths)}")
        return paths[-1]

    for shape in SHAPES:
        array = np.asarray(rng.integers(256, size=shape, dtype=np.uint8))
        new().write_bytes(idx(array))
        new().write_bytes(gzip.compress(idx(array)))
        for kind in TYPES:
            with new().open("wb") as file:
                np.save(file, array.astype(kind), allow_pickle=True)
    for mode in MODES:
        for size in ((28, 28), (27, 28), (1, 1)):
            Image.new(mode, size).save(new(), "PNG")
    for count in range(4):
        put_named(new(), ["1.png", "\udcff.png", "ä b.png"][:count])
    new().write_bytes(b"")
    new().write_text('{"schema": 1, "sha256": "", "names": [1]}')
    return paths


def status_of(command: list[object], capsys) -> int:
    """Run a command that may fail; any other exception would be a traceback."""
    try:
        status = run(*command)
    except SystemExit as error:  # by argparse, for wrong usage
        status = error.code
    said = capsys.readouterr()
    assert status in (0, 1, 2) and "Traceback" not in said.err, command
    assert status == 0 or said.err, command
    return status


def test_no_kind_of_input_gives_a_traceback(default, here, capsys):
    tally = Counter()
    for path in any_inputs(here):
        tally[status_of(["compress", path, "-o", "x", "--force"], capsys)] += 1
        status_of(["info", path], capsys)
    assert min(tally[0], tally[1]) > 10, tally


def test_no_damage_name_or_option_gives_a_traceback(default, here, capsys):
    rng, tally = np.random.default_rng(0), Counter()
    (here / "inputs").mkdir()
    files = [path for path in any_inputs(here / "inputs") if path.is_file()]
    (here / "good").write_bytes(codec.compress(IMAGES[:12], default))
    names = [
        "a",
        "b.png",
        "d.cae",
        "d.names.json",
        "\udcff.idx",
        "e f.gz",
        "inputs",
        "-",
    ]
    writing = ["--force", "--quiet", "--invert", "-o a", "-o x/y", "-o d.cae", "-m a"]
    options = {
        "compress": [*writing, "--check", "--coder adaptive", "-o z", "-o z"],
        "decompress": [*writing, "--format png", "--max-images 2", "-o z", "-o z"],
        "info": [""],
    }
    for _ in range(200):
        for path in here.iterdir():
            if path.is_file() and path.name != "good":
                path.unlink()
        for name in names[:-2]:
            source = here / "good" if rng.random() < 0.4 else rng.choice(files)
            content = bytearray(source.read_bytes())
            if rng.random() < 0.3:  # damage it
                at = int(rng.integers(len(content) + 1))
                content[at : at + int(rng.integers(9))] = rng.bytes(rng.integers(9))
                del content[rng.choice([at, len(content)]) :]
            (here / name).write_bytes(content)
        command = [list(options)[rng.integers(3)]]
        command += rng.choice(names, size=1 + (rng.random() < 0.2)).tolist()
        for option in rng.choice(options[command[0]], size=rng.integers(3)):
            command += option.split()
        tally[status_of(command, capsys)] += 1
        assert not [path for path in here.iterdir() if path.name.startswith(".")]
        shutil.rmtree(here / "z", ignore_errors=True)
    assert min(tally[0], tally[1], tally[2]) > 10, tally


# --- output and interrupts --------------------------------------------------------

INFO = [*COMMAND, "info", str(DATA / "earlier-static.cae")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_printed_gives_one_line_and_status_1():
    with open("/dev/full", "w") as full:
        result = subprocess.run(INFO, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("caebook: ") and result.stderr.count("\n") == 1


def test_a_closed_pipe_gives_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)  # as `caebook … | head` does
    result = subprocess.run(INFO, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


# Raises KeyboardInterrupt at the import of module number $1, then runs the command.
INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None, left=[int(sys.argv.pop(1))]):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
from caebook.cli import main
sys.meta_path.insert(0, Interrupt())
sys.exit(main())
"""


@pytest.mark.parametrize("number", [1, 50])
def test_an_interrupt_during_the_imports_gives_no_traceback(number):
    command = [sys.executable, "-c", INTERRUPTED, str(number), *INFO[3:]]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "caebook: interrupted\n")


@pytest.mark.parametrize(
    ("number", "target"),
    [(signal.SIGINT, "out"), (signal.SIGTERM, "out"), (signal.SIGHUP, "out.npy")],
)
def test_a_signal_while_writing_leaves_no_temporary_file(tmp_path, number, target):
    model = codec.find_model()
    symbols = np.zeros((16_000, model.numbers), np.uint8)
    (tmp_path / "in.cae").write_bytes(version1.pack(symbols, model))
    process = subprocess.Popen(
        [*COMMAND, "decompress", "in.cae", "-o", target],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(os.listdir(tmp_path)) < 2:  # the temporary file has appeared
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.001)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == ["in.cae"]


def test_the_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    project = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
    assert said in (f"caebook {project['version']}\n", "caebook (not installed)\n")


def test_help_imports_no_package_and_neither_do_the_codecs_commands_a_framework():
    code = """
import contextlib, sys
from caebook.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
assert not {"numpy", "tqdm", "PIL", "onnxruntime"} & set(sys.modules)
assert main(["info", sys.argv[1]]) == 0
assert not {"torch", "tensorflow", "keras", "onnx"} & set(sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code, INFO[-1]]).returncode == 0


def test_info_describes_a_file(default, here, capsys):
    content = codec.compress(IMAGES, default, "adaptive")
    Path("in.cae").write_bytes(content)
    assert run("info", "in.cae") == 0
    said = capsys.readouterr().out
    for part in (
        "version 2; checksums fit",
        "in 1 block",
        "40 images",
        f"{len(content)} bytes",
        "16 numbers of 4 bits (lloyd-max",
        "adaptive",
        default.id,
        default.digest[:4].hex(),
        str(default.run.folder),
    ):
        assert part in said
    assert run("compress", put_named(here / "in", NAMES), "--block", 5) == 1
    assert run("compress", "in", "--block", 5, "--force") == 0
    content = Path("in.cae").read_bytes()
    capsys.readouterr()
    assert run("info", "in.cae") == 0
    said = capsys.readouterr().out
    assert "names         12, in " in said and "in 3 blocks" in said
    Path("in.cae").write_bytes(flip(content, len(content) - 6))
    assert run("info", "in.cae") == 1
    captured = capsys.readouterr()
    assert "damaged: block 6" in captured.out and "10 of 28×28" in captured.out
    assert captured.err.startswith("caebook: in.cae: block 6 is damaged")


def test_info_describes_a_file_of_version_1(default, here, capsys):
    content = version1.compress(IMAGES, default, "adaptive")
    Path("in.cae").write_bytes(content)
    assert run("info", "in.cae") == 0
    said = capsys.readouterr().out
    for part in ("version 1", f"{len(content)} bytes", "adaptive", default.id):
        assert part in said
    assert default.checksum[:8].hex() in said
    Path("in.cae").write_bytes(flip(content, 80))
    assert run("info", "in.cae") == 1
    assert "checksum" in capsys.readouterr().err


def test_a_missing_model_is_named(model, here, capsys):
    for content, name in (
        (codec.compress(IMAGES, model), f"no model {model.short_id}"),
        (version1.compress(IMAGES, model), f"no model {model.id}"),
        (codec.compress(np.tile(IMAGES, (25, 1, 1)), model), f"it is {model.id}"),
    ):
        Path("in.cae").write_bytes(content)
        assert run("info", "in.cae") == 0
        assert name in capsys.readouterr().out
        assert run("decompress", "in.cae", "-o", "out.npy", "--force") == 1
        assert name in capsys.readouterr().err
        command = ["decompress", "in.cae", "-o", "out.npy", "--force"]
        assert run(*command, "-m", model.run.folder) == 0


def test_a_file_of_another_model_is_refused(default, here, capsys):
    other = codec.fit(tiny.write_run(here), IMAGES, bits=2)
    other.save()
    Path("in.cae").write_bytes(codec.compress(IMAGES, default))
    assert run("decompress", "in.cae", "-m", other.run.folder) == 1
    assert "not with" in capsys.readouterr().err


def test_models_are_made_and_listed(here, monkeypatch, capsys):
    source = tiny.write_run(here / "runs")
    images = tiny.images(6_000)
    labels = np.zeros(6_000, np.uint8)
    dataset = data.Dataset(
        "glyph-digits", images, labels, images, labels, ("0",), "here", "0" * 64, True
    )
    monkeypatch.setattr(data, "load", lambda name: dataset)
    monkeypatch.setattr(locate, "MODELS_FOLDER", here / "models")
    command = ["model", "make", source.folder, "--images", 300, "--bits", 2]
    assert run(*command, "--quantiser", "uniform", "--copy-to", "models") == 0
    model = codec.find_model(f"{tiny.NAME}:uniform2")
    assert model.run.folder == here / "models" / tiny.NAME
    assert model.fitted == {
        "dataset": "glyph-digits",
        "sha256": "0" * 64,
        "images": 300,
    }
    capsys.readouterr()
    assert run("model", "list") == 0
    full_name = f"{tiny.NAME}:uniform2-{model.short_id}"
    assert capsys.readouterr().out.startswith(f"{full_name}  ")
    # The id is that of the run's own decoder, and the same for a model beside it.
    assert run(*command, "--quantiser", "uniform") == 0
    own = codec.find_model(source.folder)
    assert own.digest == model.digest and own.checksum != model.checksum
    # Again, with other images: a second model, and the first one stays.
    before = {path.name for path in model.run.folder.iterdir()}
    again = ["model", "make", source.folder, "--images", 200, "--bits", 2]
    assert run(*again, "--quantiser", "uniform", "--copy-to", "models") == 0
    assert len(before) < len(list(model.run.folder.iterdir()))
    assert codec.find_model(full_name).digest == model.digest
    assert codec.find_model(f"{tiny.NAME}:uniform2").fitted["images"] == 200
    assert run("model", "make", source.folder, "--images", 5_999) == 1
    assert "ask for" in capsys.readouterr().err
    assert run("model", "make", here) == 1
    assert "run.json" in capsys.readouterr().err


def test_the_help_names_all_data_sets(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # names are not wrapped at their hyphens
    with pytest.raises(SystemExit):
        cli.main(["data", "fetch", "--help"])
    words = set(re.findall(r"[a-z-]+", capsys.readouterr().out))
    assert {*data.NAMES, *data.AUTO} <= words


# --- the README -------------------------------------------------------------------


def readme_commands() -> list[tuple[list[str], list[str]]]:
    """Arguments and output lines of each command in the README's console block."""
    text = (root() / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(\$ \.venv/bin/caebook .*?)```", text, re.DOTALL)
    commands = []
    for part in block.split("$ .venv/bin/caebook ")[1:]:
        first, *lines = part.strip().splitlines()
        commands.append((first.split(), lines))
    return commands


def printed(capsys) -> list[str]:
    return capsys.readouterr().out.replace(f"{root()}/", "").splitlines()


def test_the_readme_describes_the_default_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ((*_, _), (_, described), *_) = readme_commands()
    with np.load(DATA / "version-1.npz") as file:
        Path("in.cae").write_bytes(codec.compress(file["images"], codec.find_model()))
    assert run("info", "in.cae") == 0
    for line, found in zip(described, printed(capsys), strict=True):
        if not line.startswith(("images", "size", "names")):
            assert line == found


def test_the_readme_prints_what_the_commands_print(tmp_path, monkeypatch, capsys):
    """On the first 1,000 test images of MNIST, where they are available."""
    digits = real_digits()[:1000]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for index, image in enumerate(digits):
        Image.fromarray(image).save(f"digits/{index}.png")
    for arguments, lines in readme_commands():
        assert run(*arguments) == 0
        for line, found in zip(lines, printed(capsys), strict=True):
            assert re.sub(r"[\d.,]+", "#", line) == re.sub(r"[\d.,]+", "#", found)
            # Rounding ties of the encoder, and so sizes, depend on the processor.
            assert numbers(found) == pytest.approx(numbers(line), rel=0.002), found


def numbers(line: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", line)]
