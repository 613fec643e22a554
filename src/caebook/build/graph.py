"""The build's graph: which job depends on what, and running what is out of date.

`prepare` writes down all that a job depends on, and Snakemake compares the times of
these files with those of the job's outputs. The Snakefile says how it runs a job.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from caebook.build import cluster
from caebook.build.chapters import Build, Chapter, find_chapters, stored_files
from caebook.build.imports import Package, chapter_imports
from caebook.build.launch import launch_branch, launch_settings, repository_address
from caebook.environment import writable_home
from caebook.errors import BuildError
from caebook.files import digest, digest_files, root, write_text
from caebook.page import claims

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Job:
    """A job as the Snakefile reads it; paths are relative to the build's folder.

    Attributes
    ----------
    command : arguments of ``python -m``
    inputs : files that it depends on
    record : the file that it writes last, when all went well
    results : the other files that it makes
    priority : jobs that many others wait for go first, so that no core is idle at last
    """

    name: str
    command: list[str]
    inputs: list[str]
    record: str
    results: list[str]
    priority: int = 0


def prepare(build: Build, only: list[str] | None = None) -> None:
    """Write down the jobs, and what each depends on, for Snakemake.

    Files change only if their content does.

    Parameters
    ----------
    only : chapters to execute, with all that they read; the whole book and its site if
        there is none

    Raises
    ------
    BuildError
        If a chapter or what it declares is invalid.
    """
    folder = build.folder
    chapters = find_chapters()
    jobs = {chapter.name: chapter for chapter in chapters}
    graph = job_graph(chapters, build)
    needed = needed_jobs(_job_names(only or [], chapters), graph)
    package = Package.read(PACKAGE)
    write_if_changed(folder / "build.json", asdict(build))
    for name in needed:
        depends = dependencies(jobs[name], build, package)
        write_if_changed(folder / "inputs" / f"{name}.json", depends)
    listed = [_chapter_job(jobs[name], build, jobs, graph) for name in needed]
    if not only:
        write_if_changed(
            folder / "inputs" / "site.json", _site_dependencies(chapters, package)
        )
        made = [path for job in listed for path in (job.record, job.results[0])]
        listed.append(
            Job(
                name="site",
                command=["caebook.build.site"],
                inputs=["inputs/site.json", *made],
                record="site.json",
                results=["html/index.html"],
            )
        )
    write_if_changed(folder / "jobs.json", [asdict(job) for job in listed])


def _chapter_job(
    chapter: Chapter,
    build: Build,
    jobs: dict[str, Chapter],
    graph: dict[str, list[str]],
) -> Job:
    reads = set(chapter.reads(build)) - set(chapter.writes(build))
    read = [
        str("runs" / path)
        for other in graph[chapter.name]
        for name in jobs[other].writes(build)
        if name in reads
        for path in stored_files(name)
    ]
    wrote = chain.from_iterable(map(stored_files, chapter.writes(build)))
    return Job(
        name=chapter.name,
        command=["caebook.build.execute", chapter.name],
        inputs=[
            f"inputs/{chapter.name}.json",
            *(jobs[other].record for other in graph[chapter.name]),
            *read,
        ],
        record=chapter.record,
        results=[chapter.executed, *(str("runs" / path) for path in wrote)],
        priority=sum(chapter.name in used for used in graph.values()),
    )


def dependencies(chapter: Chapter, build: Build, package: Package) -> dict:
    """What a chapter depends on besides the jobs whose runs it reads, as digests."""
    imported = chapter_imports(chapter)
    return {
        "build": asdict(build),
        "lock": digest_files([root() / "requirements.lock"]),
        "rooms": _room_digests(imported, package),
        "networks": package.definition_digests("networks", imported),
        "claims": _claims_digest(chapter, imported),
        "code": chapter.code_digest(),
        "reads": chapter.reads(build),
        "writes": chapter.writes(build),
        "reference": {
            name: digest_files((root() / "reference" / name).iterdir())
            for name in reference_runs(chapter, build)
        },
    }


def _claims_digest(chapter: Chapter, imported: set[str]) -> str | None:
    """Changes when the chapter's claims do; None if it has none to judge."""
    if "caebook.page.claims" not in imported:
        return None
    own = [c for c in claims.read().values() if c.chapter == chapter.name]
    return digest([claim.model_dump_json() for claim in own])


def _site_dependencies(chapters: list[Chapter], package: Package) -> dict:
    name = f"{package.folder.name}.build"
    book = [root() / "_config.yml", *(root() / "book").rglob("*")]
    return {
        "lock": digest_files([root() / "requirements.lock"]),
        "rooms": _room_digests({name}, package),
        "book": digest_files(book),
        "benchmarks": digest_files((root() / "benchmarks/results").glob("*.json")),
        "chapters": {chapter.name: digest(chapter.notebook) for chapter in chapters},
        "launch": launch_settings(repository_address(), launch_branch()),
    }


def _room_digests(names: set[str], package: Package) -> dict[str, str]:
    rooms = sorted(package.rooms_behind(names) - {"networks"})
    return {room: package.room_digest(room) for room in rooms}


def reference_runs(chapter: Chapter, build: Build) -> list[str]:
    """The runs in ``reference/`` that a chapter may load.

    A chapter that declares ``shallow+short-…`` also loads the full trainings that it
    stands in for, be it to read or in place of the brief training that it writes
    itself.
    """
    declared = {*chapter.reads(build), *chapter.writes(build)}
    names = {full for name in declared for full in (name, *full_names(name))}
    patterns = chapter.planned_reads()
    return sorted(
        name
        for path in (root() / "reference").glob("*/run.json")
        if (name := path.parent.name) in names
        or any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def full_names(name: str) -> list[str]:
    """The full trainings that a brief one stands in for, the best first."""
    return [name.replace("+short-", "-"), name.replace("+short-", "+fast-")]


def job_graph(jobs: list[Chapter], build: Build) -> dict[str, list[str]]:
    """For each job, the other jobs whose runs and findings it reads.

    Raises
    ------
    BuildError
        If two jobs write the same run, or one reads a run that is written by none and
        not in ``reference/``.
    """
    writer: dict[str, str] = {}
    for job in jobs:
        for run in job.writes(build):
            if run in writer:
                raise BuildError(f"{writer[run]} and {job.name} both write {run}")
            writer[run] = job.name
    reference = root() / "reference"
    graph = {}
    for job in jobs:
        reads = job.reads(build)
        for run in reads:
            stand_ins = [reference / name for name in (run, *full_names(run))]
            if run not in writer and not any(path.is_dir() for path in stand_ins):
                raise BuildError(
                    f"notebooks/{job.name}.ipynb reads {run}, which no chapter "
                    "writes and reference/ does not hold"
                )
        used = {writer[run] for run in reads if run in writer}
        graph[job.name] = sorted(used - {job.name})
    return graph


def _job_names(only: list[str], chapters: list[Chapter]) -> list[str]:
    """The names in `only`, or of all chapters if it is empty.

    Raises
    ------
    BuildError
        If there is no chapter of that name.
    """
    names = [chapter.name for chapter in chapters]
    if unknown := [name for name in only if name not in names]:
        raise BuildError(
            f"there is no chapter {', '.join(unknown)}; there are {', '.join(names)}"
        )
    return only or names


def needed_jobs(names: list[str], graph: dict[str, list[str]]) -> list[str]:
    """The named jobs, and all jobs whose runs they need, sorted."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += graph[name]
    return sorted(needed)


def write_if_changed(path: Path, content: dict | list) -> None:
    """Write JSON; a file that holds the same keeps its time."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)


def run(
    folder: Path, cores: int | None, profile: Path | None = None, *options: str
) -> None:
    """Let Snakemake run the jobs of a build's folder that are out of date.

    Parameters
    ----------
    folder : holds ``jobs.json`` and the inputs that it names
    cores : jobs at a time; by default one a core, or as many as the profile says
    profile : of a cluster that runs the jobs; see `caebook.build.cluster`
    options : more of Snakemake's own, e.g. ``--keep-going``

    Raises
    ------
    BuildError
        If a job failed; the message is what the failed jobs had to say.
    """
    for report in folder.glob("failed/*.txt"):
        report.unlink()
    log = folder / "snakemake.log"
    environment, workers = _workers(folder, cores, profile)
    submitting = (
        cluster.submitting(profile, folder) if profile else contextlib.nullcontext()
    )
    with submitting, open(log, "w") as messages:
        # A session of its own: Ctrl-C reaches this process only, which then kills all
        # the others at once instead of each reporting its own interruption.
        process = subprocess.Popen(
            [*_snakemake(folder), *workers, *options],
            cwd=folder,  # where a cluster's jobs begin, too
            env=environment,
            stderr=messages,
            start_new_session=True,
        )
        if process.wait() == 0:
            return
    reports = [path.read_text().strip() for path in sorted(folder.glob("failed/*.txt"))]
    raise BuildError(
        "\n\n".join(reports)
        or f"{log.read_text()[-3000:]}\nSnakemake failed ({process.returncode})."
    )


def pending(folder: Path) -> list[str]:
    """Names of the jobs that are out of date, as Snakemake's table of outputs says.

    Raises
    ------
    BuildError
        If Snakemake cannot read the graph.
    """
    result = subprocess.run(
        [*_snakemake(folder), "--cores", "1", "--summary"],
        env=_environment(folder),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise BuildError(f"{result.stderr[-3000:]}\nSnakemake failed.")
    table = csv.DictReader(result.stdout.splitlines(), delimiter="\t")
    return sorted({row["rule"] for row in table if row["plan"] == "update pending"})


def _workers(
    folder: Path, cores: int | None, profile: Path | None
) -> tuple[dict[str, str], list[str]]:
    """Environment and options by which Snakemake runs jobs, here or on a cluster."""
    environment = _environment(folder)
    if profile is None:
        return environment, ["--cores", str(cores or os.cpu_count() or 1)]
    environment = cluster.environment(profile, environment)
    return environment, cluster.options(profile, cores, environment)


def _snakemake(folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(root() / "Snakefile"),
        "--directory", str(folder),
        "--rerun-triggers", "mtime",
        "--rerun-incomplete",  # a killed build left its mark; its jobs run again
        "--nolock",  # `only_build` is the lock
        "--runtime-source-cache-path", str(folder / ".snakemake" / "sources"),
    ]  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        **writable_home(folder / ".home"),
        "CAEBOOK_ROOT": str(root()),
        "CAEBOOK_BUILD": str(folder),
    }
