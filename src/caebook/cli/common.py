"""What the subcommands of `caebook` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from caebook.errors import DataError

if TYPE_CHECKING:
    from tqdm import tqdm

    from caebook.codec import Contents

#: Standard input or output in the place of a file.
STANDARD = Path("-")


class ShowVersion(argparse.Action):
    """Prints the version of the installed package, and ends the process."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        text = "show the version and exit"
        super().__init__(option_strings, dest, nargs=0, help=text)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata  # this takes as long as building the parser

        try:
            version = metadata.version("caebook")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"caebook {version}")
        parser.exit()


def file_path(text: str) -> Path:
    """Read the name of a file or folder; "-" is refused."""
    if text == "-":
        raise argparse.ArgumentTypeError(
            "only .cae files can come from standard input or go to standard output; "
            "give the name of a file"
        )
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a file")
    return Path(text)


def file_or_standard(text: str) -> Path:
    """Read the name of a file; "-" is standard input or output."""
    return STANDARD if text == "-" else file_path(text)


def beside(inputs: Sequence[Path], suffix: str) -> Path:
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


def sizes(contents: Contents) -> str:
    """The size of a .cae file, and what it is for an image and for a pixel."""
    names, count = contents.names_size, contents.count
    size = contents.size - names
    under = f"; and {names:,} bytes of names" if names else ""
    return (
        f"{counting(count)}, {size:,} bytes; {size / count:.2f} bytes an image, "
        f"{8 * size / count / 784:.3f} bits a pixel, {784 * count / size:.1f} : 1"
        f"{under}"
    )


def counting(count: int) -> str:
    """So many images, in words."""
    return "1 image" if count == 1 else f"{count:,} images"


def warn(text: str) -> None:
    """Print a warning."""
    print(f"caebook: warning: {text}", file=sys.stderr)


def positive(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def progress(count: int | None, quiet: bool) -> tqdm:
    """A bar on a terminal for work that takes longer than a moment."""
    from tqdm import tqdm

    return tqdm(total=count, unit=" images", disable=True if quiet else None, delay=0.5)
