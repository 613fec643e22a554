"""The `caebook` command: its entry point and its parser.

Each group of subcommands has a module, whose `add` defines them and the functions that
run them. A running function returns the exit status.

Modules that take long to import are imported by the running functions: the parser needs
neither NumPy nor any other package. And `main` imports everything within its `try`, so
that an interrupt during the first imports ends without a traceback.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing it from `typing` takes longer than the rest here
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if something was wrong with data or files, 130 after an
        interrupt. Wrong usage ends the process with status 2, as argparse does.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("caebook: interrupted", file=sys.stderr)
        return 130


def _run(argv: Sequence[str] | None) -> int:
    """Run the command line; an error of the package becomes one line and status 1."""
    import os

    from caebook.errors import CaebookError

    try:
        arguments = _parser().parse_args(argv)
        status = arguments.run(arguments)
        if sys.stdout is not None:  # it is None if it was closed before the start
            sys.stdout.flush()
        return status
    except CaebookError as error:
        print(f"caebook: {error}", file=sys.stderr)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # as `caebook … | head` makes
            print(f"caebook: {error}", file=sys.stderr)
        # The output that was not printed is buffered, and would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


def _parser() -> ArgumentParser:
    """Build the parser of the whole command."""
    from argparse import ArgumentParser

    from caebook.cli import codec, data, model

    parser = ArgumentParser(
        prog="caebook",
        description="Tools of the book “Convolutional Autoencoders, Measured”.",
    )
    groups = parser.add_subparsers(metavar="command", required=True)
    data.add(groups)
    codec.add(groups)
    model.add(groups)
    return parser
