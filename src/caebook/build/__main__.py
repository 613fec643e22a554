"""The command line of the build: ``python -m caebook.build --help``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from caebook import data
from caebook.build import cluster, graph
from caebook.build.chapters import Build
from caebook.build.lock import only_build
from caebook.errors import BuildError, CaebookError
from caebook.files import root
from caebook.settings import PROFILES, same_data


def main(arguments: list[str] | None = None) -> int:
    """Build the book under one profile, or execute some of its chapters.

    Returns
    -------
    int
        Exit status: 0, 1 if something failed, 130 if it was interrupted.
    """
    chosen = _parser().parse_args(arguments)
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        profile = cluster.check(chosen.cluster) if chosen.cluster else None
        with only_build(root() / "build" / chosen.profile):
            build = _build(chosen)
            graph.prepare(build, chosen.only)
            if chosen.dry_run:
                print("\n".join(graph.pending(build.folder)))
                return 0
            graph.run(build.folder, chosen.cores, profile)
    except CaebookError as error:
        print(f"\nThe book was not built.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next build goes on from here.", file=sys.stderr)
        return 130
    seconds = f"({time.monotonic() - started:.0f} s)"
    if chosen.only:
        notebooks = (build.folder / "notebooks").relative_to(root())
        print(f"\nThe executed chapters are in {notebooks}/ {seconds}.")
        return 0
    index = (build.folder / "html" / "index.html").relative_to(root())
    print(f"\nThe book is at {index} {seconds}.")
    if chosen.digits == "auto-digits" and build.digits != "mnist":
        print("It was computed on the stand-in data: the real MNIST is not available.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m caebook.build")
    parser.add_argument("profile", choices=PROFILES, nargs="?", default="reader")
    parser.add_argument("--digits", default="auto-digits")
    parser.add_argument("--letters", default="auto-letters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cores", type=int,
        help="jobs at a time; default: one a core, or what the cluster's profile says",
    )  # fmt: skip
    parser.add_argument(
        "--cluster", type=Path, metavar="PROFILE",
        help="submit the jobs to a cluster, e.g. by cluster/slurm; see CONTRIBUTING.md",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", metavar="CHAPTER", default=[],
        help="execute these (e.g. 03_shallow) and what they read; no site",
    )  # fmt: skip
    parser.add_argument(
        "-n", "--dry-run", action="store_true",
        help="list the jobs that would run, one a line, and run none",
    )  # fmt: skip
    return parser


def _build(chosen: argparse.Namespace) -> Build:
    """Settle which data sets the build uses, and say so."""
    build = Build(
        chosen.profile,
        data.resolve(chosen.digits),
        data.resolve(chosen.letters),
        chosen.seed,
    )
    if build.digits == build.letters:
        raise BuildError(same_data(build.digits))
    if not chosen.dry_run:
        print(
            f"profile {build.profile}: digits {build.digits}, letters "
            f"{build.letters}, seed {build.seed}",
            flush=True,
        )
    return build


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
