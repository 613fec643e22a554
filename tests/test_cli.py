"""The `caebook` command: images in files, .cae files, models, and what it prints."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from fakes import idx
from mutate import seal
from PIL import Image

from caebook import cli, codec, data
from caebook.codec import image_files, locate
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
    return np.array(image_files.read_images([path]))


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
    assert os.listdir(here / "out") == ["0.png"]
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
    assert content == codec.compress(IMAGES[[7, 2]], default, "adaptive")
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
    assert "20.png, 21.png, 22.png and 17 other files" in capsys.readouterr().err
    assert len(os.listdir("out")) == 40
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine")
    assert run("decompress", "in.cae", "-o", "mine", "--force") == 1
    assert "holds notes.txt" in capsys.readouterr().err
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


# --- invalid input ----------------------------------------------------------------


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
    content = codec.compress(IMAGES, default)
    Path("in.cae").write_bytes(seal(flip(content, 32 + len(default.id) + 9)))
    for target in ("out.npy", "out"):
        assert run("decompress", "in.cae", "-o", target) == 1
        assert capsys.readouterr().err.startswith("caebook: in.cae: a stream")
        assert [path.name for path in here.iterdir()] == ["in.cae"]


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


@pytest.mark.parametrize("number", [1, 3, 20, 100])
def test_an_interrupt_during_the_imports_gives_no_traceback(number):
    command = [sys.executable, "-c", INTERRUPTED, str(number), *INFO[3:]]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "caebook: interrupted\n")


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
        "version 1",
        "40 images",
        f"{len(content)} bytes",
        "16 numbers of 4 bits (lloyd-max",
        "adaptive",
        default.id,
        default.checksum[:8].hex(),
        str(default.run.folder),
    ):
        assert part in said
    Path("in.cae").write_bytes(flip(content, 80))
    assert run("info", "in.cae") == 1
    assert "checksum" in capsys.readouterr().err


def test_a_missing_model_is_named(model, here, capsys):
    Path("in.cae").write_bytes(codec.compress(IMAGES, model))
    assert run("info", "in.cae") == 0
    assert f"no model {model.id}" in capsys.readouterr().out
    assert run("decompress", "in.cae") == 1
    assert f"no model {model.id}" in capsys.readouterr().err
    assert run("decompress", "in.cae", "-m", model.run.folder) == 0


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
    assert capsys.readouterr().out.startswith(f"{tiny.NAME}:uniform2  ")
    assert run("model", "make", source.folder, "--images", 5_999) == 1
    assert "ask for" in capsys.readouterr().err
    assert run("model", "make", here) == 1
    assert "run.json" in capsys.readouterr().err


def test_the_help_names_all_data_sets(capsys):
    from caebook.cli.data import KNOWN

    assert KNOWN == (*data.NAMES, *data.AUTO)


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
    ((*_, _), (_, described), *_) = readme_commands()
    assert run("info", DATA / "earlier-static.cae") == 0
    for line, found in zip(described, printed(capsys), strict=True):
        if not line.startswith(("images", "size", "header")):
            assert line == found
    assert "header        64 bytes" in described[3]


def test_the_readme_prints_what_the_commands_print(tmp_path, monkeypatch, capsys):
    """On the first 1,000 test images of MNIST, where they are available."""
    folder = os.environ.get("CAEBOOK_DATA", "")
    if not folder or not os.path.isdir(os.path.join(folder, "mnist")):
        pytest.skip("real MNIST needed: set CAEBOOK_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for index, image in enumerate(data.load("mnist").test_images[:1000]):
        Image.fromarray(image).save(f"digits/{index}.png")
    for arguments, lines in readme_commands():
        assert run(*arguments) == 0
        for line, found in zip(lines, printed(capsys), strict=True):
            assert re.sub(r"[\d.,]+", "#", line) == re.sub(r"[\d.,]+", "#", found)
            # Rounding ties of the encoder, and so sizes, depend on the processor.
            assert numbers(found) == pytest.approx(numbers(line), rel=0.005), found


def numbers(line: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", line)]
