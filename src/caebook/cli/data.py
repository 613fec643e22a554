"""`caebook data`: list, fetch and verify the data sets."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from caebook.data import registry
from caebook.errors import DataError

Run = Callable[[argparse.Namespace], int]


def add(groups: argparse._SubParsersAction) -> None:
    """Add `caebook data …`."""
    known = f"one of {', '.join((*registry.NAMES, *registry.AUTO))}"
    parser = groups.add_parser("data", help="list, fetch and verify the data sets")
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("list", _list, "List the data sets, and where they are.")
    fetch = command("fetch", _fetch, "Download or draw data sets, and verify them.")
    fetch.add_argument("names", nargs="+", metavar="name", help=known)
    verify = command("verify", _verify, "Read every byte of data sets and check it.")
    verify.add_argument(
        "names", nargs="*", metavar="name", help=f"{known}; default: all that are here"
    )
    resolve = command(
        "resolve", _resolve, "Print which data set a name like auto-digits means."
    )
    resolve.add_argument("name", help=known)


def _list(arguments: argparse.Namespace) -> int:
    """Print one line per data set."""
    from caebook import data

    status = 0
    for name in data.NAMES:
        try:
            place = data.locate(name)
            state = str(place) if place else _how_to_get(name)
        except DataError as error:
            state, status = str(error), 1
        print(f"{name:<15} {state}")
    for name, choices in data.AUTO.items():
        print(f"{name:<15} {' if available, else '.join(choices)}")
    return status


def _how_to_get(name: str) -> str:
    """How a data set that is not here can be obtained."""
    if name.startswith("glyph-"):
        return "not here; drawn when it is first used"
    if name == "mnist":
        return "not here; downloaded when it is first used"
    size = f"{registry.REAL[name].archive.size / 1e6:.0f} MB"
    return f"not here; `caebook data fetch {name}` downloads it ({size})"


def _fetch(arguments: argparse.Namespace) -> int:
    """Fetch data sets and print where their files are."""
    from caebook import data

    for name in arguments.names:
        for path in data.fetch(name):
            print(path)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    """Verify data sets and print the checksums of their files."""
    from caebook import data

    names = arguments.names or [name for name in data.NAMES if data.locate(name)]
    if not names:
        raise DataError(
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


def _resolve(arguments: argparse.Namespace) -> int:
    """Print the name of the data set, and nothing else, on standard output."""
    from caebook import data

    print(data.resolve(arguments.name))
    return 0
