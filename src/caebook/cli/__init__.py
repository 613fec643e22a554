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
        0 if all went well, 1 if something was wrong with data or files, 3 if
        `decompress --salvage` wrote what could be read of a damaged file, 130 after an
        interrupt. Wrong usage ends the process with status 2, as argparse does, and
        SIGTERM or SIGHUP with 128 plus its number.
    """
    try:
        _exit_on_signals()
        return _run(argv)
    except KeyboardInterrupt:
        print("caebook: interrupted", file=sys.stderr)
        return 130


def _exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit, so that temporary files are removed.

    A signal that is ignored, as by `nohup`, stays ignored.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread can set handlers

    def leave(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the removal
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


def _run(argv: Sequence[str] | None) -> int:
    """Run the command line; an error of the package becomes one line and status 1."""
    import os

    from caebook.errors import CaebookError

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the name of a file may not be valid text
            stream.reconfigure(errors="backslashreplace")
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
    from caebook.cli.common import ShowVersion

    parser = ArgumentParser(
        prog="caebook",
        description="Tools of the book “Convolutional Autoencoders, Measured”.",
    )
    parser.add_argument("--version", action=ShowVersion)
    groups = parser.add_subparsers(metavar="command", required=True)
    data.add(groups)
    codec.add(groups)
    model.add(groups)
    return parser
