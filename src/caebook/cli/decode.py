"""What `caebook decompress` and `caebook info` do."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from caebook.cli.common import STANDARD, beside, counting, progress, sizes, warn
from caebook.errors import CodecError, CorruptFile, DataError

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from caebook.codec import Contents

#: Exit status of `decompress --salvage` if images were written, and others are lost.
SALVAGED = 3


def decompress(arguments: argparse.Namespace) -> int:
    """Make images from a .cae file."""
    from caebook.codec import container, image_files

    with opened(arguments.file) as file:
        contents = container.examine(file, arguments.salvage)
        container.check_count(contents.count, arguments.max_images)
        _need_images(contents)
        file_names, restored = _names_of(arguments.file, contents)
        kind, target = _kind_and_target(arguments, file_names)
        if arguments.model is not None:
            model = container.find_model(arguments.model)
        else:
            model = container.model_of(contents.header, contents.label)
        if arguments.salvage:
            contents = container.sound_streams(file, contents, model)
            _need_images(contents)
            file_names = file_names[: contents.count]
        file.seek(0)
        with progress(contents.count, arguments.quiet) as bar:
            stop = len(contents.counts) if contents.damage else None
            images = container.decompressed(file, model, arguments.max_images, stop)
            if arguments.invert:
                images = (255 - part for part in images)
            parts = _counted(images, bar)
            if kind == "folder":
                image_files.write_folder(target, file_names, parts, arguments.force)
            else:
                image_files.write_file(
                    target, kind, contents.count, parts, arguments.force
                )
    under = " with their names" if restored and kind == "folder" else ""
    print(f"{target}: {counting(contents.count)}{under}")
    if not contents.damage:
        return 0
    warn(
        f"{arguments.file}: {contents.damage}; the images from there on are lost, and "
        f"the {counting(contents.count)} before it {_are(contents.count)} written"
    )
    return SALVAGED


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _need_images(contents: Contents) -> None:
    """Raise CorruptFile if nothing can be saved of a damaged file."""
    if not contents.count:
        raise CorruptFile(f"no image can be saved: {contents.damage}")


def _names_of(cae: Path, contents: Contents) -> tuple[list[str], bool]:
    """Names for the images of a .cae file, and whether they are the original ones."""
    from caebook.codec import names

    found, problem = contents.names, f"{cae}: {contents.problem}"
    if contents.header.version == 1 and cae != STANDARD:
        try:
            found = names.read(cae, contents.count)
        except DataError as error:
            problem = str(error)
            warn(f"{problem}; the images are numbered instead")
    elif contents.problem:
        warn(f"{problem}; the images are numbered instead")
    if found:
        return found, True
    return names.default_names(cae, contents.count), False


def info(arguments: argparse.Namespace) -> int:
    """Print what is in a .cae file, and where its model is."""
    from caebook.codec import container

    with opened(arguments.file) as file:
        contents = container.examine(file, salvage=True)
        header = contents.header
        code, name = "", contents.label
        try:
            model = container.model_of(header, contents.label)
            found, name = f"in {model.run.folder}", model.id
            code = (
                f"{model.numbers:,} numbers of {model.quantiser.bits} bits "
                f"({model.quantiser.kind} quantiser)"
            )
        except CodecError as error:
            found = str(error)
        rows = {
            "format": f".cae, version {header.version}; "
            + (f"damaged: {contents.damage}" if contents.damage else "checksums fit"),
            "images": f"{contents.count:,} of 28×28 pixels, 8-bit grey, in "
            + _blocks(contents),
            "size": sizes(contents) if contents.count else f"{contents.size:,} bytes",
            "names": _names_row(arguments.file, contents),
            "code": code or "unknown without the model",
            "entropy coder": header.coder,
            "model": _model_row(contents, name),
            "found": found,
        }
        for title, text in rows.items():
            print(f"{title:<14}{text}")
        if contents.damage:
            raise CorruptFile(contents.damage)
    return 0


def _blocks(contents: Contents) -> str:
    count = len(contents.counts)
    return "1 block" if count == 1 else f"{count:,} blocks"


def _names_row(cae: Path, contents: Contents) -> str:
    from caebook.codec import names

    if contents.header.version == 1:
        path = names.path_of(cae)
        return f"in {path}" if os.path.isfile(path) else "none"
    if contents.problem:
        return f"not to be used: {contents.problem}"
    if contents.names is None:
        return "none"
    return f"{len(contents.names):,}, in {contents.names_size:,} bytes"


def _model_row(contents: Contents, name: str) -> str:
    header = contents.header
    if header.version == 1:
        return f"{header.model}, checksum {header.checksum.hex()}"
    return f"{header.model}, {name}" if name else header.model


def _kind_and_target(
    arguments: argparse.Namespace, names: Sequence[str]
) -> tuple[str, Path]:
    """Format and path of the output; DataError if it must not be written there."""
    from caebook.codec import image_files

    target, kind, count = arguments.output, arguments.format, len(names)
    if target is None:
        if arguments.file == STANDARD:
            raise DataError("standard input has no name: name the output with -o")
        kind = kind or ("png" if count == 1 else "npy")
        suffix = "" if kind == "png" and count > 1 else f".{kind}"
        target = beside([arguments.file], suffix)
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


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a .cae file, or keep what comes from standard input in a temporary one.

    Errors about its content name it.
    """
    from caebook.codec import arrays

    try:
        if path == STANDARD:
            with tempfile.TemporaryFile() as file:
                shutil.copyfileobj(binary(sys.stdin, "input"), file)
                file.seek(0)
                yield file
        else:
            with arrays.opened(path) as file:
                yield file
    except CorruptFile as error:
        name = "standard input" if path == STANDARD else path
        raise CorruptFile(f"{name}: {error}") from error


def binary(stream: TextIO | None, what: str) -> BinaryIO:
    """The bytes of standard input or output; DataError if it is a terminal."""
    if stream is None or stream.isatty():
        raise DataError(f"standard {what} is not a pipe or a file; name a file instead")
    return stream.buffer


def _counted(parts: Iterator[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    """Pass parts on, and count their images on the bar."""
    for part in parts:
        yield part
        bar.update(len(part))
