"""Builds the book: settles what to build, runs the graph, makes the site.

``python -m caebook.build reader`` is what ``make book`` calls. The graph itself, which
chapter depends on what, is in the Snakefile.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil

from caebook import data
from caebook.build.chapters import Build, Chapter, find_chapters, find_jobs, stored
from caebook.build.site import make_site, repository_address
from caebook.errors import BuildError, CaebookError
from caebook.files import digest, digest_files, root, write_text
from caebook.settings import PROFILES

# Modules that no chapter imports: changing them must not execute anything again.
_ENGINE = {"build", "cli"}


@contextlib.contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Hold the build folder, and leave no process at work there behind.

    The lock vanishes with its process, however that ends, so it never goes stale.

    Raises
    ------
    BuildError
        If another build holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"another build is at work in {folder}; wait for it, or stop it"
            ) from None
        _clear(folder)
        try:
            yield
        finally:
            _clear(folder)


def _clear(folder: Path) -> None:
    """Kill the jobs and kernels of a build here, and drop what they left half done.

    They are known by the build folder's name in their environment.
    """
    while leftovers := [p for p in psutil.process_iter() if _works_for(p, folder)]:
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(leftovers, timeout=5)
    for pattern in (".work-*", ".site-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _works_for(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("CAEBOOK_BUILD") == str(folder)
    except (psutil.Error, OSError):  # another user's, or gone
        return False


def prepare(build: Build) -> list[str]:
    """Write down what each job depends on; files change only if their content does.

    Snakemake then compares their times with those of the stamps.

    Returns
    -------
    list of str
        Stamps of the jobs whose results are not there, or no longer.

    Raises
    ------
    BuildError
        If a chapter or what it declares is not right.
    """
    jobs = find_jobs(build)
    folder = build.folder
    _write_if_changed(folder / "build.json", asdict(build))
    _write_if_changed(folder / "graph.json", job_graph(jobs, build))
    package = Path(__file__).parents[1]
    sources = [
        path
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in _ENGINE
    ]
    shared = {
        "build": asdict(build),
        "package": digest_files(sources),
        "lock": digest_files([root() / "requirements.lock"]),
    }
    lost = []
    reference = digest_files((root() / "reference").glob("*/run.json"))
    for job in jobs:
        reads, writes = job.reads(build), job.writes(build)
        depends = {
            **shared,
            "code": job.code_digest(),
            "point": job.point,
            "reads": reads,
            "writes": writes,
            "reference": reference if reads else None,
        }
        stamp = folder / "done" / f"{job.name}.json"
        results = [stamp, folder / "notebooks" / f"{job.name}.ipynb"]
        results += [build.runs / _proof(name) for name in writes]
        if not all(path.is_file() for path in results):
            stamp.unlink(missing_ok=True)
            lost.append(f"done/{stamp.name}")
        _write_if_changed(folder / "inputs" / f"{job.name}.json", depends)
    book = [root() / "_config.yml", *(root() / "book").rglob("*")]
    site = {
        **shared,
        "book": digest_files(book),
        "chapters": {job.page: digest(job.notebook) for job in jobs},
        "engine": digest_files((package / "build").glob("*.py")),
        "repository": repository_address(),
    }
    _write_if_changed(folder / "inputs" / "site.json", site)
    if not (folder / "html" / "index.html").is_file():
        (folder / "site.json").unlink(missing_ok=True)
    return lost


def _proof(name: str) -> Path:
    """The file below ``runs/`` that is there if a run or finding is."""
    path = stored(name)
    return path if path.suffix else path / "run.json"


def job_graph(jobs: list[Chapter], build: Build) -> dict[str, list[str]]:
    """For each job, the other jobs whose runs and findings it reads.

    Raises
    ------
    BuildError
        If two jobs write the same run, or one reads a run that nobody writes.
    """
    writer: dict[str, str] = {}
    for job in jobs:
        for run in job.writes(build):
            if run in writer:
                raise BuildError(f"{writer[run]} and {job.name} both write {run}")
            writer[run] = job.name
    graph = {}
    for job in jobs:
        reads = job.reads(build)
        for run in reads:
            if run not in writer and not (root() / "reference" / run).is_dir():
                raise BuildError(
                    f"notebooks/{job.page}.ipynb reads {run}, which no chapter "
                    "writes and reference/ does not hold"
                )
        used = {writer[run] for run in reads if run in writer}
        graph[job.name] = sorted(used - {job.name})
    return graph


def _write_if_changed(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)


def run_graph(build: Build, targets: list[str], lost: list[str], cores: int) -> None:
    """Let Snakemake bring the targets up to date.

    Lost stamps that a target needs are forced: Snakemake does not miss a file whose
    readers are up to date.

    Raises
    ------
    BuildError
        If a job failed; the message is what the failed jobs had to say.
    """
    folder = build.folder
    lost = [stamp for stamp in lost if stamp in _needed(targets, folder)]
    for report in folder.glob("failed/*.txt"):
        report.unlink()
    command = [
        sys.executable, "-m", "snakemake", *targets,
        "--snakefile", str(root() / "Snakefile"),
        "--directory", str(folder),
        "--cores", str(cores),
        "--rerun-triggers", "mtime",
        "--rerun-incomplete",  # a killed build left its mark; its jobs run again
        *(["--forcerun", *lost] if lost else []),
        "--nolock",  # `only_build` is the lock
        "--runtime-source-cache-path", str(folder / ".snakemake" / "sources"),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "CAEBOOK_ROOT": str(root()),
        "CAEBOOK_BUILD": str(folder),
    }
    log = folder / "snakemake.log"
    with open(log, "w") as messages:
        # A session of its own: Ctrl-C reaches this process only, which then kills all
        # the others at once instead of each reporting its own interruption.
        process = subprocess.Popen(
            command, env=environment, stderr=messages, start_new_session=True
        )
        if process.wait() == 0:
            return
    reports = [path.read_text().strip() for path in sorted(folder.glob("failed/*.txt"))]
    raise BuildError(
        "\n\n".join(reports)
        or f"{log.read_text()[-3000:]}\nSnakemake failed ({process.returncode})."
    )


def _needed(targets: list[str], folder: Path) -> set[str]:
    """The stamps that `targets` depend on, and themselves."""
    graph = json.loads((folder / "graph.json").read_text())
    if "site.json" in targets:
        return {f"done/{name}.json" for name in graph}
    needed: set[str] = set()
    waiting = list(targets)
    while waiting:
        stamp = waiting.pop()
        if stamp not in needed:
            needed.add(stamp)
            used = graph.get(Path(stamp).stem, [])
            waiting += [f"done/{name}.json" for name in used]
    return needed


def _job_names(chosen: list[str], build: Build) -> list[str]:
    """Names of jobs, where an experiment's own name stands for all of its jobs."""
    jobs = {c.path.stem: [j.name for j in c.jobs(build)] for c in find_chapters()}
    return [job for name in chosen for job in jobs.get(name, [name])]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _make_site() -> int:
    """The graph's last job; the current folder is the build's."""
    build = Build.read(Path.cwd())
    try:
        make_site(build)
    except BuildError as error:
        write_text(build.folder / "failed" / "site.txt", f"{error}\n")
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Build the book under one profile, or some of its chapters."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build")
    parser.add_argument("profile", choices=PROFILES, nargs="?", default="reader")
    parser.add_argument("--digits", default="auto-digits")
    parser.add_argument("--letters", default="auto-letters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only", nargs="+", metavar="CHAPTER", default=[],
        help="execute these (e.g. 03_shallow, ladder) and what they read; no site",
    )  # fmt: skip
    parser.add_argument("--site-only", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.site_only:
        return _make_site()
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
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
            lost = prepare(build)
            targets = [f"done/{name}.json" for name in _job_names(chosen.only, build)]
            run_graph(build, targets or ["site.json"], lost, chosen.cores)
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
        print("It was computed on the stand-in data: the real MNIST was out of reach.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
