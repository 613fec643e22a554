"""Executes one chapter: ``python -m caebook.build.execute NAME`` in a build's folder.

Papermill leaves a copy with outputs under ``notebooks/``. What the chapter wrote goes
to ``runs/``, and what it took to ``done/``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import nbformat
from nbformat import NotebookNode

from caebook.build.chapter_page import publishable
from caebook.build.chapters import (
    Build,
    Chapter,
    Execution,
    find_chapter,
    stored,
    stored_files,
)
from caebook.build.polling import polling
from caebook.errors import ChapterError
from caebook.files import root, write_text
from caebook.provenance import now

# One pinned thread a job: two unpinned jobs on two cores were ten times slower.
JOB_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",
    # glibc keeps freed memory instead of returning it after every batch, which made
    # training in PyTorch twice as fast where both frameworks share a process.
    "MALLOC_MMAP_THRESHOLD_": str(2**23),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
    # The frameworks' threads would each keep freed memory of their own.
    "MALLOC_ARENA_MAX": "2",
}
# TensorFlow's C++ log lines, which it prints before any setting can silence them. They
# may begin in the middle of a line of Python's own.
_LOG_LINE = re.compile(
    r"(WARNING: All log messages before absl|[IWE]0000 00:00:\d+\.\d+ )[^\n]*\n?"
)
_POLL = 0.2  # s between two looks at a chapter's log


def execute(chapter: Chapter, build: Build) -> None:
    """Run a chapter; keep its executed copy, its runs, and the record of both.

    The chapter works in a folder of its own, where it finds the runs that it declares
    to read. What it writes there is moved to ``runs/`` only if all went well.

    Raises
    ------
    ChapterError
        If a cell fails, the kernel dies, or the runs written are not those declared.
        The failed notebook is kept under ``failed/``; earlier results stay.
    """
    start = time.monotonic()
    failed = build.folder / "failed" / f"{chapter.name}.ipynb"
    failed.unlink(missing_ok=True)
    with _workplace(chapter, build) as work:
        output = work / ".kernel" / chapter.path.name
        try:
            executed = _run_cells(chapter, build, work, output)
            _check_written(chapter, build, work)
            publishable(chapter, executed)
        except ChapterError:
            if output.is_file():
                failed.parent.mkdir(exist_ok=True)
                os.replace(output, failed)
            raise
        _keep(chapter, build, work)
    write_text(build.folder / chapter.executed, nbformat.writes(executed))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    execution = Execution(
        seconds=round(time.monotonic() - start, 1),
        # ru_maxrss is in KiB on Linux and in bytes on macOS
        peak_memory_mb=round(peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)),
        created=now(),
        writes=chapter.writes(build),
    )
    record = {**asdict(execution), **asdict(build)}
    write_text(build.folder / chapter.record, json.dumps(record, indent=1) + "\n")
    say(
        chapter.name,
        f"done in {execution.seconds:.0f} s, peak memory {execution.peak_memory_mb} MB",
    )


@contextlib.contextmanager
def _workplace(chapter: Chapter, build: Build) -> Iterator[Path]:
    """A folder beside ``runs/`` with links to what the chapter may read there."""
    work = build.folder / f".work-{chapter.name}"
    shutil.rmtree(work, ignore_errors=True)
    build.runs.mkdir(parents=True, exist_ok=True)
    (work / ".kernel").mkdir(parents=True)
    for name in chapter.reads(build):
        path = stored(name)
        if (build.runs / path).exists() and name not in chapter.writes(build):
            (work / path).parent.mkdir(exist_ok=True)
            (work / path).symlink_to(build.runs / path)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_cells(
    chapter: Chapter, build: Build, work: Path, output: Path
) -> NotebookNode:
    """Execute the cells with papermill, which writes the notebook to `output`."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    progress = Progress(chapter)
    log = output.parent / "log.txt"
    os.environ.pop("PYTHONWARNINGS", None)  # "error" would stop the libraries
    os.environ.update(
        JOB_ENVIRONMENT,
        CAEBOOK_LOG=str(log),
        # The reader's own IPython start-up files must not decide what a page says.
        IPYTHONDIR=str(output.parent / "ipython"),
    )
    try:
        with progress.following(log):
            executed = papermill.execute_notebook(
                # relative, because papermill takes braces in a path for parameters
                os.path.relpath(chapter.path),
                os.path.relpath(output),
                parameters={**asdict(build), "runs_dir": str(work)},
                kernel_name="python3",
                language="python",
                cwd=root(),
                progress_bar=False,
                on_cell_start=progress.cell_start,
                coalesce_streams=True,
            )
    except PapermillExecutionError as error:
        what = f"{error.ename}: {error.evalue}"
        if error.ename in ("RunError", "FindingError"):
            what += " (A chapter sees only what its metadata declares to read.)"
        raise ChapterError(f"{progress.describe()}\n{what}") from error
    except Exception as error:  # the kernel did not start, or died
        raise ChapterError(
            f"{progress.describe()}\n{type(error).__name__}: {error}"
        ) from error
    _drop_log_lines(executed)
    return executed


class Progress:
    """Says which cell is running, and shows what the chapter logs meanwhile."""

    def __init__(self, chapter: Chapter) -> None:
        self.chapter = chapter
        self.number = {cell.id: n for n, cell in enumerate(chapter.code_cells, 1)}
        self.cell: NotebookNode | None = None  # the last that started
        self.start = time.monotonic()

    def cell_start(self, cell: NotebookNode, cell_index: int) -> None:
        """Called by nbclient before each cell, also text and injected code."""
        if cell.id not in self.number:
            return
        self.cell = cell
        where = f"cell {self.number[cell.id]}/{len(self.number)}"
        elapsed = time.monotonic() - self.start
        say(self.chapter.name, f"{where:<11} {elapsed:4.0f} s  {_begins(cell)}")

    @contextlib.contextmanager
    def following(self, log: Path) -> Iterator[None]:
        """Show the lines that are written to `log`, soon after each is written."""
        log.touch()
        unfinished = ""

        def show() -> None:
            nonlocal unfinished
            *lines, unfinished = (unfinished + file.read()).split("\n")
            for line in lines:
                say(self.chapter.name, f"{'':<19} {line}")

        with open(log, encoding="utf-8") as file, polling(show, _POLL):
            yield

    def describe(self) -> str:
        """How far the execution got, for the message about a failure."""
        where = f"notebooks/{self.chapter.name}.ipynb"
        if self.cell is None:
            return f"{where}, before its first cell"
        return (
            f"{where}, code cell {self.number[self.cell.id]} of {len(self.number)} "
            f"(id {self.cell.id!r}), which begins\n    {_begins(self.cell)}"
        )


def _begins(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0][:60]


def say(name: str, text: str, file: TextIO | None = None) -> None:
    """Print a line of progress under a job's name; by default on standard output."""
    print(f"{name:<16} {text}", file=file, flush=True)


def _check_written(chapter: Chapter, build: Build, work: Path) -> None:
    """Raise ChapterError unless the chapter wrote what it declares, and only that."""
    declared = set(chapter.writes(build))
    wrote = {
        path.parent.name
        for path in work.glob("[!.]*/run.json")
        if not path.parent.is_symlink()
    } | {
        f"findings/{path.stem}"
        for path in work.glob("findings/[!.]*.json")
        if not path.is_symlink()
    }
    problems = [
        *(f"wrote {name} without declaring it" for name in sorted(wrote - declared)),
        *(f"declares {name} but did not write it" for name in sorted(declared - wrote)),
        *(
            f"wrote {name} without {path.name}"
            for name in sorted(wrote & declared)
            for path in stored_files(name)
            if not (work / path).is_file()
        ),
    ]
    if problems:
        raise ChapterError(f"notebooks/{chapter.name}.ipynb " + "; ".join(problems))


def _keep(chapter: Chapter, build: Build, work: Path) -> None:
    """Move what the chapter wrote to ``runs/``, in place of what was there."""
    for number, path in enumerate(map(stored, chapter.writes(build))):
        target = build.runs / path
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            os.replace(target, work / f".replaced-{number}")
        os.replace(work / path, target)


def _drop_log_lines(notebook: NotebookNode) -> None:
    """Drop TensorFlow's log lines from the outputs, and streams left empty by that."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                output.text = _LOG_LINE.sub("", output.text)
        cell.outputs = [
            output
            for output in cell.outputs
            if output.output_type != "stream" or output.text.strip()
        ]


def main(arguments: list[str] | None = None) -> int:
    """Execute one chapter of the build whose folder is the current one."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build.execute")
    parser.add_argument("name", help="e.g. 03_shallow")
    name = parser.parse_args(arguments).name
    build = Build.read(Path.cwd())
    report = build.folder / "failed" / f"{name}.txt"
    report.unlink(missing_ok=True)  # of a first attempt
    try:
        execute(find_chapter(name), build)
    except ChapterError as error:
        write_text(report, f"{error}\n")
        print(error, file=sys.stderr)  # for Snakemake's log
        say(name, "failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
