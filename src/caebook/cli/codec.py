"""`caebook compress`, and the options of `caebook decompress` and `caebook info`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from caebook.cli import decode
from caebook.cli.common import (
    STANDARD,
    beside,
    counting,
    file_or_standard,
    file_path,
    positive,
    progress,
    sizes,
    warn,
)
from caebook.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from caebook.codec import Model
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
        "The .cae file holds the names of PNG files too.",
    )
    compress.add_argument("inputs", nargs="+", type=file_path, metavar="input")
    compress.add_argument(
        "-o", "--output", type=file_or_standard, metavar="FILE",
        help="default: the input's name with .cae; - is standard output",
    )  # fmt: skip
    _add_model_option(compress, "the one that comes with the package")
    compress.add_argument(
        "--coder", choices=("static", "adaptive"), default="static",
        help="adaptive learns from the images: for images unlike the model's own "
        "(default: static)",
    )  # fmt: skip
    compress.add_argument(
        "--block", type=positive, default=16_384, metavar="N",
        help="images in a block, 16,384 at most; a damaged file can be read up to the "
        "damaged block, and smaller blocks cost bytes and time (default: 16,384)",
    )  # fmt: skip
    compress.add_argument(
        "--no-names", action="store_true", help="do not keep the names of PNG files"
    )
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
        "NPY or IDX file, or a folder of PNG files, which get their names back. Those "
        "of a file of version 1 are read from NAME.names.json beside it. A damaged "
        "file gives no images, unless --salvage is added.",
    )
    decompress.add_argument(
        "file", type=file_or_standard, metavar="file.cae", help="- is standard input"
    )
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
    decompress.add_argument(
        "--salvage", action="store_true",
        help="write the images before the damage, and end with status 3; only the "
        "blocks of files of version 2 allow this",
    )  # fmt: skip
    _add_writing_options(decompress)
    decompress.set_defaults(run=decode.decompress)

    info = groups.add_parser(
        "info",
        help="describe a .cae file",
        description="Check a .cae file from first to last byte, and describe it.",
    )
    info.add_argument(
        "file", type=file_or_standard, metavar="file.cae", help="- is standard input"
    )
    info.set_defaults(run=decode.info)


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
    from caebook.codec import blocks, container, image_files, locate
    from caebook.files import replacing_file

    target = arguments.output or beside(arguments.inputs, ".cae")
    piped = target == STANDARD
    if arguments.block > blocks.BLOCK_IMAGES:
        raise DataError(f"--block {arguments.block}: it may be 16,384 at most")
    if not piped:
        image_files.check_free(target, arguments.force)
    with progress(None, arguments.quiet) as bar:
        given = image_files.read_images(arguments.inputs, bar.update)
    if arguments.invert:
        given = image_files.ImageSet(255 - given.images, given.names)
    model = locate.find_model(arguments.model or locate.DEFAULT_MODEL)
    names = None if arguments.no_names else _names_to_keep(given, target)
    with progress(len(given.images), arguments.quiet) as bar:
        parts = container.compressed(
            given.images, model, arguments.coder, bar.update, arguments.block, names
        )
        if not piped:
            with replacing_file(target) as file:
                file.writelines(parts)
            with decode.opened(target) as file:
                _report(given, target, file, model, arguments)
            return 0
        with tempfile.TemporaryFile() as file:  # all of it is sent, or nothing
            file.writelines(parts)
            file.seek(0)
            shutil.copyfileobj(file, decode.binary(sys.stdout, "output"))
            sys.stdout.flush()
            _report(given, target, file, model, arguments)
    return 0


def _names_to_keep(given: ImageSet, target: Path) -> list[str] | None:
    """The names of PNG files, unless decompressing gives the same ones anyway.

    A single image is decompressed to the name of its file.
    """
    from caebook.codec import names

    if given.names is None or len(given.names) == 1:
        return None
    if given.names == names.default_names(target, len(given.images)):
        return None
    if reason := names.problem(given.names):
        warn(f"the names of the images are not kept: {reason}")
        return None
    return given.names


def _report(
    given: ImageSet,
    target: Path,
    file: BinaryIO,
    model: Model,
    arguments: argparse.Namespace,
) -> None:
    """Compare what was written with the images: print sizes and scores, and warn."""
    from caebook.codec import checks, container

    said = sys.stderr if target == STANDARD else sys.stdout
    file.seek(0)
    print(f"{target}: {sizes(container.examine(file))}", file=said)
    file.seek(0)
    check, uqi, start, count = checks.Check(), [], 0, len(given.images)
    with progress(count, arguments.quiet) as bar:
        for part in container.decompressed(file, model, count):
            images = given.images[start : start + len(part)]
            check.add(images, part)
            if arguments.check:
                uqi.append(_uqi(images, part))
            start += len(part)
            bar.update(len(part))
    if arguments.check:
        scores = f"MSE {check.mse:.4f} (white is 1), UQI {_mean(uqi):.3f}"
        print(f"{target}: {scores}; means of {counting(count)}", file=said)
    for text in check.warnings(given.images, given.names, model):
        warn(text)


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
