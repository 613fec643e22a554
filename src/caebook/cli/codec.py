"""`caebook compress`, `caebook decompress` and `caebook info`."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from caebook.cli.common import file_path, positive, progress
from caebook.errors import CodecError, CorruptFile, DataError

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from caebook.codec import Header, Model
    from caebook.codec.image_files import ImageSet


EXPECTED = (
    "The models expect images as in MNIST: 28×28 pixels of 8-bit grey, white ink (255) "
    "on black (0), in the middle of the image."
)


def add(groups: argparse._SubParsersAction) -> None:
    """Add `caebook compress`, `caebook decompress` and `caebook info`."""
    compress = groups.add_parser(
        "compress",
        help="make a .cae file from images",
        description="Make a .cae file from PNG files, a folder of PNG files, one IDX "
        "file (gzipped or not) or one NPY file of uint8, shape (N, 28, 28). "
        f"{EXPECTED} Images that the model cannot reconstruct are named in a warning. "
        "The names of PNG files are kept beside the .cae file, in NAME.names.json.",
    )
    compress.add_argument("inputs", nargs="+", type=file_path, metavar="input")
    compress.add_argument(
        "-o", "--output", type=file_path, metavar="FILE",
        help="default: the input's name with .cae",
    )  # fmt: skip
    _add_model_option(compress, "the one that comes with the package")
    compress.add_argument(
        "--coder", choices=("static", "adaptive"), default="static",
        help="adaptive learns from the images: for images unlike the model's own "
        "(default: static)",
    )  # fmt: skip
    compress.add_argument(
        "--invert", action="store_true",
        help="compress 255 − pixel: for black ink on white paper",
    )  # fmt: skip
    compress.add_argument(
        "--check", action="store_true",
        help="print MSE (white is 1) and UQI of the images as they are decompressed",
    )  # fmt: skip
    _add_writing_options(compress)
    compress.set_defaults(run=_compress)

    decompress = groups.add_parser(
        "decompress",
        help="make images from a .cae file",
        description="Make images from a .cae file: a PNG file of a single image, an "
        "NPY or IDX file, or a folder of PNG files, which get their names back from "
        "NAME.names.json if that is beside the .cae file.",
    )
    decompress.add_argument("file", type=file_path, metavar="file.cae")
    decompress.add_argument(
        "-o", "--output", type=file_path, metavar="PATH",
        help="default: the file's name with .png for one image, .npy for several",
    )  # fmt: skip
    decompress.add_argument(
        "--format", choices=("png", "idx", "npy"),
        help="default: by the output's name; without an ending, a folder of PNG files",
    )  # fmt: skip
    decompress.add_argument(
        "--invert", action="store_true",
        help="write 255 − pixel: for images that were compressed with --invert",
    )  # fmt: skip
    _add_model_option(decompress, "the one that the file names")
    decompress.add_argument(
        "--max-images", type=positive, default=1_000_000, metavar="N",
        help="refuse files that declare more (default: 1,000,000)",
    )  # fmt: skip
    _add_writing_options(decompress)
    decompress.set_defaults(run=_decompress)

    info = groups.add_parser(
        "info",
        help="describe a .cae file",
        description="Check a .cae file from first to last byte, and describe it.",
    )
    info.add_argument("file", type=file_path, metavar="file.cae")
    info.set_defaults(run=_info)


def _add_model_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option that chooses a model."""
    parser.add_argument(
        "-m", "--model", metavar="MODEL",
        help="a model's name, as `caebook model list` prints it, or the folder of a "
        f"run (default: {default})",
    )  # fmt: skip


def _add_writing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that write files."""
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _compress(arguments: argparse.Namespace) -> int:
    """Make a .cae file, and warn of images that it does not preserve."""
    from caebook.codec import container, image_files, locate, names
    from caebook.files import replacing_file

    target = arguments.output or _beside(arguments.inputs, ".cae")
    image_files.check_free(target, arguments.force)
    image_files.check_free(names.path_of(target), arguments.force)
    with progress(None, arguments.quiet) as bar:
        given = image_files.read_images(arguments.inputs, bar.update)
    if arguments.invert:
        given = image_files.ImageSet(255 - given.images, given.names)
    model = locate.find_model(arguments.model or locate.DEFAULT_MODEL)
    size, sha256, count = 0, hashlib.sha256(), len(given.images)
    with (
        progress(count, arguments.quiet) as bar,
        replacing_file(target) as file,
    ):
        for part in container.compressed(
            given.images, model, arguments.coder, bar.update
        ):
            size += file.write(part)
            sha256.update(part)
    _store_names(given, target, sha256.hexdigest())
    print(f"{target}: {_sizes(size, count)}")
    _check(given, target, model, arguments)
    return 0


def _store_names(given: ImageSet, target: Path, sha256: str) -> None:
    """Write the names of PNG files, if decompressing would give other ones."""
    from caebook.codec import names

    names.path_of(target).unlink(missing_ok=True)  # those of an earlier file
    if given.names in (None, names.default_names(target, len(given.images))):
        return
    if reason := names.problem(given.names):
        _warn(f"the names of the images are not kept: {reason}")
    else:
        names.write(target, given.names, sha256)


def _check(
    given: ImageSet, target: Path, model: Model, arguments: argparse.Namespace
) -> None:
    """Compare what was written with the images: print scores, and warn."""
    from caebook.codec import checks, container

    check, uqi, start = checks.Check(), [], 0
    with _opened(target) as file:
        header = container.read_header(file)
        with progress(header.count, arguments.quiet) as bar:
            for part in container.decompressed(file, header, model, header.count):
                images = given.images[start : start + len(part)]
                check.add(images, part)
                if arguments.check:
                    uqi.append(_uqi(images, part))
                start += len(part)
                bar.update(len(part))
    if arguments.check:
        scores = f"MSE {check.mse:.4f} (white is 1), UQI {_mean(uqi):.3f}"
        print(f"{target}: {scores}; means of {_counting(header.count)}")
    for text in check.warnings(given.images, given.names, model):
        _warn(text)


def _uqi(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """The images' UQI; an error if SciPy is missing, as in a small installation."""
    try:
        from caebook.evaluation import metrics
    except ImportError as error:
        raise DataError(
            f"UQI cannot be computed: {error}; install the book's packages, or leave "
            "out --check (the .cae file is written)"
        ) from error
    return metrics.uqi(images, reconstructions)


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(sum(part.sum() for part in parts) / sum(map(len, parts)))


def _warn(text: str) -> None:
    print(f"caebook: warning: {text}", file=sys.stderr)


def _decompress(arguments: argparse.Namespace) -> int:
    """Make images from a .cae file."""
    from caebook.codec import container, image_files

    with _opened(arguments.file) as file:
        header = container.read_header(file)
        file_names, restored = _names_of(arguments.file, header.count)
        kind, target = _kind_and_target(arguments, file_names)
        model = _model_of(header, arguments.model)
        with progress(header.count, arguments.quiet) as bar:
            images = container.decompressed(file, header, model, arguments.max_images)
            if arguments.invert:
                images = (255 - part for part in images)
            parts = _counted(images, bar)
            if kind == "folder":
                image_files.write_folder(target, file_names, parts, arguments.force)
            else:
                image_files.write_file(
                    target, kind, header.count, parts, arguments.force
                )
    under = " with their names" if restored and kind == "folder" else ""
    print(f"{target}: {_counting(header.count)}{under}")
    return 0


def _names_of(cae: Path, count: int) -> tuple[list[str], bool]:
    """Names for the images of a .cae file, and whether they are the original ones."""
    from caebook.codec import names

    try:
        if found := names.read(cae, count):
            return found, True
    except DataError as error:
        _warn(f"{error}; the images are numbered instead")
    return names.default_names(cae, count), False


def _info(arguments: argparse.Namespace) -> int:
    """Print what a .cae file declares, and where its model is."""
    from caebook.codec import container

    with _opened(arguments.file) as file:
        header = container.read_header(file)
    try:
        found = f"in {_model_of(header, None).run.folder}"
    except CodecError as error:
        found = str(error)
    payload = header.size - header.length
    rows = {
        "format": f".cae, version {header.version}; checksum fits",
        "images": f"{header.count:,} of 28×28 pixels, 8-bit grey",
        "size": _sizes(header.size, header.count),
        "header": f"{header.length} bytes, and {payload:,} of blocks and checksum",
        "code": f"{header.numbers:,} numbers of {header.bits} bits ({header.quantiser}"
        " quantiser)",
        "entropy coder": header.coder,
        "model": f"{header.model}, checksum {header.checksum.hex()}",
        "found": found,
    }
    for name, text in rows.items():
        print(f"{name:<14}{text}")
    return 0


def _beside(inputs: Sequence[Path], suffix: str) -> Path:
    """Name of the output if none is given."""
    if len(inputs) > 1:
        raise DataError("there are several inputs: name the output with -o")
    path = inputs[0]
    if path.name in ("", ".."):
        path = path.resolve()
    if not path.name:
        raise DataError(
            f"{path} has no name to derive the output's from: name it with -o"
        )
    return path.with_name((path.name if path.is_dir() else path.stem) + suffix)


def _kind_and_target(
    arguments: argparse.Namespace, names: Sequence[str]
) -> tuple[str, Path]:
    """Format and path of the output; DataError if it must not be written there."""
    from caebook.codec import image_files

    target, kind, count = arguments.output, arguments.format, len(names)
    if target is None:
        kind = kind or ("png" if count == 1 else "npy")
        suffix = "" if kind == "png" and count > 1 else f".{kind}"
        target = _beside([arguments.file], suffix)
    endings = {".png": "png", ".idx": "idx", ".npy": "npy", "": "png"}
    if target.name.endswith("ubyte"):
        endings[target.suffix] = "idx"
    if kind is None and target.suffix not in endings:
        raise DataError(
            f"{target}: choose a format with --format, or a name that ends in .png, "
            ".idx or .npy"
        )
    kind = kind or endings[target.suffix]
    if kind == "png" and (target.suffix != ".png" or os.path.isdir(target)):
        image_files.check_folder_free(target, names, arguments.force)
        return "folder", target
    if kind == "png" and count > 1:
        raise DataError(
            f"{target}: {count:,} images do not fit in one PNG file; give a name "
            "without .png for a folder, or one that ends in .npy or .idx"
        )
    image_files.check_free(target, arguments.force)
    return kind, target


def _model_of(header: Header, name: str | None) -> Model:
    """Find the model that a file was written with, or the one of that name."""
    from caebook.codec.locate import find_model

    if name is not None:
        return find_model(name)
    return find_model(header.model, header.checksum)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a .cae file; errors about its content name it."""
    from caebook.codec.arrays import opened

    try:
        with opened(path) as file:
            yield file
    except CorruptFile as error:
        raise CorruptFile(f"{path}: {error}") from error


def _counted(parts: Iterator[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    """Pass parts on, and count their images on the bar."""
    for part in parts:
        yield part
        bar.update(len(part))


def _sizes(size: int, count: int) -> str:
    """The size of a file, and what it is for an image and for a pixel."""
    return (
        f"{_counting(count)}, {size:,} bytes; {size / count:.2f} bytes an image, "
        f"{8 * size / count / 784:.3f} bits a pixel, {784 * count / size:.1f} : 1"
    )


def _counting(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
