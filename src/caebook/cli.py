"""The `caebook` command.

Each group of subcommands is added by a function of its own, which also says which
function runs them. A running function returns the exit status.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from caebook import data

__all__ = ["main"]

Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if something was wrong with the data, 130 if the user
        interrupted. Wrong usage ends the process with status 2, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except data.DataError as error:
        print(f"caebook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caebook: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="caebook",
        description="Tools of the book “Convolutional Autoencoders, Measured”.",
    )
    groups = parser.add_subparsers(metavar="command", required=True)
    _add_data(groups)
    return parser


# --- caebook data -----------------------------------------------------------------


def _add_data(groups: argparse._SubParsersAction) -> None:
    """Add `caebook data …`."""
    known = f"one of {', '.join((*data.NAMES, *data.AUTO))}"
    parser = groups.add_parser("data", help="list, fetch and verify the data sets")
    commands = parser.add_subparsers(metavar="command", required=True)

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("list", _list_data, "Say which data sets are here, and where.")
    fetch = add("fetch", _fetch_data, "Download or draw data sets, and verify them.")
    fetch.add_argument("names", nargs="+", metavar="name", help=known)
    verify = add("verify", _verify_data, "Read every byte of data sets and check it.")
    verify.add_argument(
        "names", nargs="*", metavar="name", help=f"{known}; all that are here if none"
    )
    resolve = add(
        "resolve", _resolve_data, "Print which data set a name like auto-digits means."
    )
    resolve.add_argument("name", help=known)


def _list_data(arguments: argparse.Namespace) -> int:
    """Print one line per data set."""
    status = 0
    for name in data.NAMES:
        try:
            place = data.locate(name)
            state = str(place) if place else _how_to_get(name)
        except data.DataError as error:
            state, status = str(error), 1
        print(f"{name:<15} {state}")
    for name, (real, stand_in) in data.AUTO.items():
        print(f"{name:<15} {real} if it can be had, else {stand_in}")
    return status


def _how_to_get(name: str) -> str:
    """Say what happens when a data set that is not here is asked for."""
    if name.startswith("glyph-"):
        return "not here; drawn when it is first used"
    if name == "mnist":
        return "not here; downloaded when it is first used"
    return f"not here; `caebook data fetch {name}` downloads it, and says how much"


def _fetch_data(arguments: argparse.Namespace) -> int:
    """Fetch data sets and print where their files are."""
    for name in arguments.names:
        for path in data.fetch(name):
            print(path)
    return 0


def _verify_data(arguments: argparse.Namespace) -> int:
    """Verify data sets and print the checksums of their files."""
    names = arguments.names or [name for name in data.NAMES if data.locate(name)]
    if not names:
        raise data.DataError(
            f"no data set is here yet, looked in {data.cache_folder()}; get one with "
            "`caebook data fetch auto-digits`"
        )
    for name in names:
        for path, sha256 in data.verify(name).items():
            print(f"{sha256}  {path}")
        print(f"{name}: sound{_REMARKS.get(name, '')}")
    return 0


_REMARKS = {
    "emnist-letters": " in sizes, counts and labels; no checksums are published",
}


def _resolve_data(arguments: argparse.Namespace) -> int:
    """Print the concrete name, and nothing else, on standard output."""
    print(data.resolve(arguments.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
