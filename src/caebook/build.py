"""Builds the book: settles what to build, runs the graph, makes the site.

``python -m caebook.build reader`` is what ``make book`` calls. The graph itself, which
chapter depends on what, is in the Snakefile.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil

from caebook import data
from caebook.chapters import (
    Build,
    BuildError,
    Chapter,
    digest,
    find_chapters,
    write_atomically,
)
from caebook.profiles import PROFILES, root
from caebook.site import make_site, repository_address

# Modules that no chapter imports: changing them must not execute anything again.
_ENGINE = {"build.py", "chapters.py", "cli.py", "site.py"}


@contextlib.contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Hold the build folder; stop what a build that was killed has left running.

    The lock vanishes with its process, however that ends, so it never goes stale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"another build is at work in {folder}; wait for it, or stop it"
            ) from None
        _stop_leftovers(folder)
        os.environ["CAEBOOK_BUILD"] = str(folder)
        try:
            yield
        finally:
            del os.environ["CAEBOOK_BUILD"]


def _stop_leftovers(folder: Path) -> None:
    """Kill jobs and kernels of an earlier build here: they carry its folder's name."""
    leftovers = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("CAEBOOK_BUILD") == str(folder):
                leftovers.append(process)
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(leftovers, timeout=10)
    for remains in (*folder.glob("runs/.saving-*"), *folder.glob("runs/.replaced-*")):
        shutil.rmtree(remains, ignore_errors=True)


def prepare(build: Build) -> list[Chapter]:
    """Write down what each job depends on; files change only if their content does."""
    chapters = find_chapters()
    folder = build.folder
    _write_if_changed(folder / "build.json", asdict(build))
    package = _digest_files(
        path for path in Path(__file__).parent.rglob("*.py") if path.name not in _ENGINE
    )
    lock = _digest_files([root() / "requirements.lock"])
    reference = _digest_files((root() / "reference").glob("*/run.json"))
    for chapter in chapters:
        depends = {
            "code": chapter.code_digest(),
            "build": asdict(build),
            "package": package,
            "lock": lock,
        }
        if chapter.reads:
            depends["reference"] = reference
        _write_if_changed(folder / "inputs" / f"{chapter.name}.json", depends)
        stamp = folder / "done" / f"{chapter.name}.json"
        if not _results_exist(stamp, chapter, folder):
            stamp.unlink(missing_ok=True)
    book = [root() / "_config.yml", *(root() / "book").rglob("*")]
    site = {
        "book": _digest_files(path for path in book if path.is_file()),
        "chapters": [digest(chapter.notebook) for chapter in chapters],
        "engine": _digest_files(
            Path(__file__).with_name(name) for name in sorted(_ENGINE)
        ),
        "repository": repository_address(),
        "lock": lock,
    }
    _write_if_changed(folder / "inputs" / "site.json", site)
    if not (folder / "html" / "index.html").is_file():
        (folder / "site.json").unlink(missing_ok=True)
    return chapters


def _results_exist(stamp: Path, chapter: Chapter, folder: Path) -> bool:
    try:
        writes = json.loads(stamp.read_text())["writes"]
    except (OSError, ValueError, KeyError):
        return False
    files = [folder / "notebooks" / chapter.path.name]
    files += [folder / "runs" / name / "run.json" for name in writes]
    return all(file.is_file() for file in files)


def _write_if_changed(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_atomically(path, text)


def _digest_files(paths) -> str:
    parts = [
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(paths)
        if path.is_file()
    ]
    return digest(parts)


def run_graph(build: Build, cores: int) -> None:
    """Let Snakemake bring everything up to date.

    Raises
    ------
    BuildError
        If a job failed; the message is what the failed jobs had to say.
    """
    started = time.time()
    command = [
        sys.executable, "-m", "snakemake", "site",
        "--snakefile", str(root() / "Snakefile"),
        "--directory", str(build.folder),
        "--cores", str(cores),
        "--rerun-triggers", "mtime",
        "--rerun-incomplete",  # a killed build left its mark; its jobs run again
        "--nolock",  # `only_build` is the lock
        "--quiet", "all",
    ]  # fmt: skip
    environment = {**os.environ, "CAEBOOK_ROOT": str(root())}
    result = subprocess.run(command, env=environment)
    if result.returncode == 0:
        return
    reports = [
        path.read_text().strip()
        for path in sorted(build.folder.glob("failed/*.txt"))
        if path.stat().st_mtime >= started - 1
    ]
    raise BuildError(
        "\n\n".join(reports) or f"the graph failed (exit status {result.returncode})"
    )


def main(arguments: list[str] | None = None) -> int:
    """Build the book under one profile; ``--site-only`` is the graph's last job."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build")
    parser.add_argument("profile", choices=PROFILES, nargs="?", default="reader")
    parser.add_argument("--digits", default="auto-digits")
    parser.add_argument("--letters", default="auto-letters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--site-only", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    if chosen.site_only:
        build = Build.read(Path.cwd())
        try:
            make_site(build)
        except BuildError as error:
            write_atomically(build.folder / "failed" / "site.txt", f"{error}\n")
            return 1
        (build.folder / "failed" / "site.txt").unlink(missing_ok=True)
        return 0
    try:
        with only_build(root() / "build" / chosen.profile):
            build = Build(
                chosen.profile,
                data.resolve(chosen.digits),
                data.resolve(chosen.letters),
                chosen.seed,
            )
            print(
                f"profile {build.profile}: digits {build.digits}, letters "
                f"{build.letters}, seed {build.seed}",
                flush=True,
            )
            prepare(build)
            run_graph(build, chosen.cores)
    except (BuildError, data.DataError) as error:
        print(f"\nThe book was not built.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next build goes on from here.", file=sys.stderr)
        return 130
    index = (build.folder / "html" / "index.html").relative_to(root())
    print(f"\nThe book is at {index} ({time.monotonic() - started:.0f} s).")
    if build.digits.startswith("glyph-"):
        print("It was computed on the stand-in data: the real MNIST was out of reach.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
