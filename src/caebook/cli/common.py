"""What the subcommands of `caebook` share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def positive(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def progress(count: int | None, quiet: bool) -> tqdm:
    """A bar on a terminal for work that takes longer than a moment."""
    from tqdm import tqdm

    return tqdm(total=count, unit=" images", disable=True if quiet else None, delay=0.5)
