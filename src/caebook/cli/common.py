"""What the subcommands of `caebook` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


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
            "standard input and output are not supported, because files are checked "
            "as a whole and written whole or not at all; give the name of a file"
        )
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a file")
    return Path(text)


def positive(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def progress(count: int | None, quiet: bool) -> tqdm:
    """A bar on a terminal for work that takes longer than a moment."""
    from tqdm import tqdm

    return tqdm(total=count, unit=" images", disable=True if quiet else None, delay=0.5)
