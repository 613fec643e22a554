"""Chapters: what a notebook declares, executing it, and preparing its page.

Most chapters are executed once. An *experiment*, under ``notebooks/experiments/``, is
executed once for each point of the grid that its metadata declare.

A chapter is stored without outputs. Executing it (with papermill) leaves a copy with
outputs under ``build/<profile>/notebooks/`` and a small record, its *stamp*, under
``build/<profile>/done/``. The page is then made from both: prose from the checkout,
outputs from the executed copy, matched cell by cell.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from caebook.errors import ChapterError
from caebook.files import digest, root, write_text

# One pinned thread a job: two unpinned jobs on two cores were ten times slower.
JOB_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",
    # glibc keeps what is freed instead of handing it back after every batch, which
    # made training in PyTorch twice as fast where both frameworks share a process
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
}
# TensorFlow's C++ log lines, which it prints before any setting can silence them. They
# may begin in the middle of a line of Python's own.
_LOG_LINE = re.compile(
    r"(WARNING: All log messages before absl|[IWE]0000 00:00:\d+\.\d+ )[^\n]*\n?"
)


@dataclass(frozen=True)
class Build:
    """What one build is made with; stored as ``build.json`` in its folder."""

    profile: str
    digits: str
    letters: str
    seed: int

    @property
    def folder(self) -> Path:
        return root() / "build" / self.profile

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @classmethod
    def read(cls, folder: Path) -> Build:
        return cls(**json.loads((folder / "build.json").read_text()))


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book, with what it declares to read and write.

    That is findings, e.g. ``findings/05_claims``, and runs, whose names are templates,
    e.g. ``shallow{short}-keras-{digits}-s{seed}``. To read ``experiments/ladder`` is to
    read all runs of that experiment.

    Attributes
    ----------
    declared : the notebook's ``caebook`` metadata: reads, writes, an experiment's grid
    point : what one execution of an experiment is made with besides the build's
        settings, e.g. ``{"depth": 2, "seed": 0}``; empty for other chapters
    """

    path: Path
    notebook: NotebookNode
    declared: dict
    point: dict[str, int | str] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """Where the site has it, below ``notebooks/``."""
        experiment = self.path.parent.name == "experiments"
        return f"experiments/{self.path.stem}" if experiment else self.path.stem

    @property
    def name(self) -> str:
        """What its execution goes by: ``03_shallow``, ``ladder@depth2-seed0``."""
        point = "-".join(f"{key}{value}" for key, value in self.point.items())
        return f"{self.path.stem}@{point}" if point else self.path.stem

    @property
    def code_cells(self) -> list[NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def code_digest(self) -> str:
        """Changes when code does, not when prose, tags or captions do."""
        return digest([cell.source for cell in self.code_cells])

    def jobs(self, build: Build) -> list[Chapter]:
        """Its executions: itself, or one for each point of the grid of the profile.

        A grid is a list of cross products, e.g. ``[{"depth": [1, 2], "seeds": 3}]``,
        where seeds count from the build's own.

        Raises
        ------
        ChapterError
            If the grid is none.
        """
        if "grid" not in self.declared:
            return [self]
        points: dict[str, dict] = {}
        try:
            for product in self.declared["grid"][build.profile]:
                axes = {key: list(product[key]) for key in product if key != "seeds"}
                axes["seed"] = [build.seed + n for n in range(product["seeds"])]
                for values in itertools.product(*axes.values()):
                    point = dict(zip(axes, values, strict=True))
                    points.setdefault(json.dumps(point), point)
        except (KeyError, TypeError, AttributeError) as error:
            raise ChapterError(
                f"{self.path}: the grid of profile {build.profile} must be a list like "
                f'[{{"depth": [1, 2], "seeds": 3}}]: {error!r}'
            ) from error
        if not points:
            raise ChapterError(
                f"{self.path}: its grid has no point for {build.profile}"
            )
        return [replace(self, point=point) for point in points.values()]

    def reads(self, build: Build) -> list[str]:
        """Names of the runs and findings that this chapter may read."""
        names = []
        for name in self._names("reads", build):
            if name.startswith("experiments/"):
                experiment = Chapter.read(self.path.parent / f"{name}.ipynb")
                names += [
                    run for j in experiment.jobs(build) for run in j.writes(build)
                ]
            else:
                names.append(name)
        return names

    def writes(self, build: Build) -> list[str]:
        """Names of the runs and findings that this chapter must write."""
        return self._names("writes", build)

    def _names(self, what: str, build: Build) -> list[str]:
        short = "" if build.profile == "full" else "+short"
        values = {"short": short, **asdict(build), **self.point}
        try:
            return [name.format(**values) for name in self.declared[what]]
        except (KeyError, IndexError, ValueError) as error:
            raise ChapterError(
                f"{self.path}: the runs that it {what} may be named with "
                f"{', '.join(f'{{{key}}}' for key in values)}; not so: {error}"
            ) from error

    @classmethod
    def read(cls, path: Path) -> Chapter:
        """Read and check a chapter.

        Raises
        ------
        ChapterError
            If it is no valid notebook, or lacks what the build relies on.
        """
        try:
            text = path.read_text(encoding="utf-8")
            # outputs are matched by id; nbformat makes up missing ones, each time anew
            ids = [cell.get("id") for cell in json.loads(text)["cells"]]
            if None in ids or len(ids) != len(set(ids)):
                raise ChapterError(f"{path}: each cell needs an id of its own")
            notebook = nbformat.reads(text, as_version=4)
            nbformat.validate(notebook)
        except (OSError, ValueError, KeyError, nbformat.ValidationError) as error:
            raise ChapterError(f"{path}: not a valid notebook: {error}") from error
        declared = notebook.metadata.get("caebook", {})
        if not all(isinstance(declared.get(key), list) for key in ("reads", "writes")):
            raise ChapterError(
                f'{path}: metadata lack "caebook": {{"reads": […], "writes": […]}}'
            )
        chapter = cls(path, notebook, declared)
        tagged = [c for c in chapter.code_cells if "parameters" in tags(c)]
        if len(tagged) != 1:
            raise ChapterError(f"{path}: needs one cell tagged 'parameters'")
        return chapter


def find_chapters() -> list[Chapter]:
    """All chapters, in reading order, and then the experiments."""
    folder = root() / "notebooks"
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    if not paths:
        raise ChapterError(f"{folder}: holds no chapter (NN_….ipynb)")
    paths += sorted(folder.glob("experiments/*.ipynb"))
    return [Chapter.read(path) for path in paths]


def find_jobs(build: Build) -> list[Chapter]:
    """All executions that the book needs: chapters, and the points of experiments."""
    return [job for chapter in find_chapters() for job in chapter.jobs(build)]


def find_job(name: str, build: Build) -> Chapter:
    """The execution that goes by `name`; ChapterError if there is none."""
    stem = name.partition("@")[0]
    for chapter in find_chapters():
        if chapter.path.stem == stem:
            for job in chapter.jobs(build):
                if job.name == name:
                    return job
    raise ChapterError(f"there is no chapter {name}")


def stored(name: str) -> Path:
    """Where ``runs/`` keeps what goes by a declared name: a run's folder or a file."""
    return Path(f"{name}.json" if name.startswith("findings/") else name)


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def say(name: str, text: str) -> None:
    """Print a line of progress under a chapter's name."""
    print(f"{name:<16} {text}", flush=True)


class _Progress(logging.Handler):
    """Says which cell is running, and passes its epoch lines on to the terminal."""

    def __init__(self, chapter: Chapter) -> None:
        super().__init__()
        self.chapter = chapter
        self.number = {cell.id: n for n, cell in enumerate(chapter.code_cells, 1)}
        self.cell: NotebookNode | None = None  # the last that started
        self.start = time.monotonic()
        self.unfinished = ""

    def cell_start(self, cell: NotebookNode, cell_index: int) -> None:
        """Called by nbclient before each cell, also text and injected code."""
        if cell.id not in self.number:
            return
        self.cell = cell
        where = f"cell {self.number[cell.id]}/{len(self.number)}"
        elapsed = time.monotonic() - self.start
        say(self.chapter.name, f"{where:<11} {elapsed:4.0f} s  {_begins(cell)}")

    def emit(self, record: logging.LogRecord) -> None:
        """Take what papermill logs: the cells' output, in pieces of any length."""
        *lines, rest = (self.unfinished + record.getMessage()).split("\n")
        self.unfinished = rest if rest.startswith("epoch") else ""
        for line in lines:
            if line.startswith("epoch "):
                say(self.chapter.name, f"{'':<19} {line}")

    def describe(self) -> str:
        """Where the execution has got to, for the message about a failure."""
        where = f"notebooks/{self.chapter.page}.ipynb"
        if self.cell is None:
            return f"{where}, before its first cell"
        return (
            f"{where}, code cell {self.number[self.cell.id]} of {len(self.number)} "
            f"(id {self.cell.id!r}), which begins\n    {_begins(self.cell)}"
        )


def _begins(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0][:60]


def execute(chapter: Chapter, build: Build) -> None:
    """Run a chapter; keep its executed copy, its runs and its stamp.

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
        for number, path in enumerate(map(stored, chapter.writes(build))):
            target = build.runs / path
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                os.replace(target, work / f".replaced-{number}")
            os.replace(work / path, target)
    write_text(
        build.folder / "notebooks" / f"{chapter.name}.ipynb", nbformat.writes(executed)
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    stamp = {
        "chapter": chapter.name,
        "seconds": round(time.monotonic() - start, 1),
        # ru_maxrss is in KiB on Linux and in bytes on macOS
        "peak_memory_mb": round(
            peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
        ),
        "writes": chapter.writes(build),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(build),
        **chapter.point,
    }
    write_text(
        build.folder / "done" / f"{chapter.name}.json", json.dumps(stamp, indent=1)
    )
    say(
        chapter.name,
        f"done in {stamp['seconds']:.0f} s, peak memory {stamp['peak_memory_mb']} MB",
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
    import papermill  # here, because the build imports this module and need not wait
    from papermill.exceptions import PapermillExecutionError

    progress = _Progress(chapter)
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [progress]
    # The reader's own IPython start-up files must not decide what a page says.
    os.environ.update(JOB_ENVIRONMENT, IPYTHONDIR=str(output.parent / "ipython"))
    try:
        executed = papermill.execute_notebook(
            # relative, because papermill takes braces in a path for parameters
            os.path.relpath(chapter.path),
            os.path.relpath(output),
            parameters={**asdict(build), **chapter.point, "runs_dir": str(work)},
            kernel_name="python3",
            language="python",
            cwd=root(),
            progress_bar=False,
            log_output=True,
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


def _check_written(chapter: Chapter, build: Build, work: Path) -> None:
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
    ]
    if problems:
        raise ChapterError(f"notebooks/{chapter.page}.ipynb " + "; ".join(problems))


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


def publishable(chapter: Chapter, executed: NotebookNode) -> dict[str, NotebookNode]:
    """The executed code cells by id, if every one ran, none failed and none changed.

    Raises
    ------
    ChapterError
        Otherwise: a page is published whole or not at all.
    """
    ran = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    for cell in chapter.code_cells:
        done = ran.get(cell.id)
        where = f"notebooks/{chapter.page}.ipynb, cell {cell.id!r}"
        if done is None or done.source != cell.source:
            raise ChapterError(f"{where}: differs from the executed copy; build again")
        if done.execution_count is None and cell.source.strip():
            raise ChapterError(f"{where}: was not executed")
        if any(output.output_type == "error" for output in done.outputs):
            raise ChapterError(f"{where}: ended in an error")
    return ran


def page(chapter: Chapter, executed: NotebookNode, stamp: dict) -> NotebookNode:
    """The page: the checkout's prose and metadata with the executed copy's outputs."""
    ran = publishable(chapter, executed)
    notebook = nbformat.from_dict(chapter.notebook)
    notebook.metadata.pop("caebook")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = ran[cell.id].outputs
            cell.execution_count = ran[cell.id].execution_count
            if "parameters" in tags(cell):
                cell.metadata.tags = [*tags(cell), "remove-cell"]
    measured = nbformat.v4.new_markdown_cell(measured_line(stamp))
    measured.id = "measured"
    notebook.cells.insert(1, measured)
    return notebook


def measured_line(stamp: dict) -> str:
    """Time and memory of a chapter, for its head."""
    seconds, memory = stamp["seconds"], stamp["peak_memory_mb"] / 1000
    minutes = f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.0f} s"
    return (
        f"*Computed in {minutes} on one core, with at most {memory:.1f} GB of memory.*"
    )


def main(arguments: list[str] | None = None) -> int:
    """Execute one chapter; the current folder is the build's."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build.chapters")
    parser.add_argument("name", help="e.g. 03_shallow or ladder@depth2-seed0")
    name = parser.parse_args(arguments).name
    build = Build.read(Path.cwd())
    try:
        execute(find_job(name, build), build)
    except ChapterError as error:
        write_text(build.folder / "failed" / f"{name}.txt", f"{error}\n")
        say(name, "failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
