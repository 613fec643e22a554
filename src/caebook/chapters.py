"""Chapters: what a notebook declares, executing it, and preparing its page.

A chapter is stored without outputs. Executing it (with papermill) leaves a copy with
outputs under ``build/<profile>/notebooks/`` and a small record, its *stamp*, under
``build/<profile>/done/``. The page is then made from both: prose from the checkout,
outputs from the executed copy, matched cell by cell.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from caebook.profiles import root

# One pinned thread a job: two unpinned jobs on two cores were ten times slower.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",
}
# TensorFlow's C++ log lines, which it prints before any setting can silence them.
_LOG_LINE = re.compile(
    r"^(WARNING: All log messages before absl|[IWE]0000 ).*\n?", re.M
)


class BuildError(Exception):
    """The book cannot be built; the message says why."""


class ChapterError(BuildError):
    """A chapter cannot be read, executed or published; the message says why."""


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

    def parameters(self) -> dict[str, object]:
        """What papermill passes to each chapter's cell tagged ``parameters``."""
        return {**asdict(self), "runs_dir": str(self.folder / "runs")}

    def run_ids(self, templates: tuple[str, ...]) -> list[str]:
        """Concrete run ids of the templates in a chapter's metadata."""
        short = "" if self.profile == "full" else "+short"
        return [template.format(short=short, **asdict(self)) for template in templates]

    @classmethod
    def read(cls, folder: Path) -> Build:
        return cls(**json.loads((folder / "build.json").read_text()))


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book, with the runs that it declares to read and write."""

    path: Path
    notebook: NotebookNode
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def code_cells(self) -> list[NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def code_digest(self) -> str:
        """Changes when code does, not when prose, tags or captions do."""
        return digest([cell.source for cell in self.code_cells])

    @classmethod
    def read(cls, path: Path) -> Chapter:
        """Read and check a chapter.

        Raises
        ------
        ChapterError
            If it is no valid notebook, or lacks what the build relies on.
        """
        try:
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            raise ChapterError(f"{path}: not a valid notebook: {error}") from error
        declared = notebook.metadata.get("caebook")
        if not declared or not {"reads", "writes"} <= declared.keys():
            raise ChapterError(
                f'{path}: metadata lack "caebook": {{"reads": […], "writes": […]}}'
            )
        chapter = cls(
            path, notebook, tuple(declared["reads"]), tuple(declared["writes"])
        )
        tagged = [c for c in chapter.code_cells if "parameters" in tags(c)]
        if len(tagged) != 1:
            raise ChapterError(f"{path}: needs one cell tagged 'parameters'")
        return chapter


def find_chapters(folder: Path | None = None) -> list[Chapter]:
    """All chapters, in reading order."""
    folder = folder or root() / "notebooks"
    return [Chapter.read(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def digest(value: object) -> str:
    """Short SHA-256 of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _ProgressEngine(NBClientEngine):
    """Papermill's own engine, saying on each code cell which one is running."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **options):
        name = nb_man.nb.metadata.papermill.caebook_chapter
        code = [c.id for c in nb_man.nb.cells if c.cell_type == "code"]
        announce, start = nb_man.cell_start, time.monotonic()

        def cell_start(cell, *args, **kwargs):
            if cell.cell_type == "code":
                first = cell.source.strip().split("\n")[0][:50]
                say(
                    name,
                    f"cell {code.index(cell.id) + 1}/{len(code)}  "
                    f"{time.monotonic() - start:4.0f} s  {first}",
                )
            return announce(cell, *args, **kwargs)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


class _EpochLines(logging.Handler):
    """Passes the epoch lines that a cell prints on to the terminal."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.chapter = name

    def emit(self, record: logging.LogRecord) -> None:
        for line in record.getMessage().splitlines():
            if line.startswith("epoch "):
                say(self.chapter, f"  {line}")


def say(name: str, text: str) -> None:
    """Print a line of progress under a chapter's name."""
    print(f"{name:<16} {text}", flush=True)


def execute(chapter: Chapter, build: Build) -> dict:
    """Run a chapter, keep the result, and return its stamp.

    Raises
    ------
    ChapterError
        If a cell fails, the kernel dies, or the runs read and written are not those
        declared. The failed notebook is kept under ``failed/``; earlier results stay.
    """
    failed = build.folder / "failed" / chapter.path.name
    failed.parent.mkdir(parents=True, exist_ok=True)
    papermill_engines.register("caebook", _ProgressEngine)
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_EpochLines(chapter.name)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        trace.touch()
        source, output = Path(folder) / chapter.path.name, Path(folder) / "out.ipynb"
        notebook = nbformat.from_dict(chapter.notebook)
        notebook.metadata["papermill"] = {"caebook_chapter": chapter.name}
        nbformat.write(notebook, source)
        os.environ.update(ONE_THREAD, CAEBOOK_TRACE=str(trace))
        try:
            executed = papermill.execute_notebook(
                source,
                output,
                parameters=build.parameters(),
                engine_name="caebook",
                kernel_name="python3",
                cwd=root(),
                progress_bar=False,
                log_output=True,
            )
        except PapermillExecutionError as error:
            os.replace(output, failed)
            cell = nbformat.read(failed, as_version=4).cells[error.cell_index]
            raise ChapterError(_describe_failure(chapter, cell, error)) from error
        except Exception as error:
            raise ChapterError(
                f"{chapter.path.name}: {type(error).__name__}: {error}"
            ) from error
        touched = [line.split() for line in trace.read_text().splitlines()]
    _check_declaration(chapter, build, touched)
    _clean(executed)
    publishable(chapter, executed)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    stamp = {
        "chapter": chapter.name,
        "code": chapter.code_digest(),
        "seconds": round(time.monotonic() - start, 1),
        # ru_maxrss is in KiB on Linux and in bytes on macOS
        "peak_memory_mb": round(
            peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
        ),
        "writes": build.run_ids(chapter.writes),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(build),
    }
    write_atomically(
        build.folder / "notebooks" / chapter.path.name, nbformat.writes(executed)
    )
    failed.unlink(missing_ok=True)
    failed.with_suffix(".txt").unlink(missing_ok=True)
    say(
        chapter.name,
        f"done in {stamp['seconds']:.0f} s, peak memory {stamp['peak_memory_mb']} MB",
    )
    return stamp


def _describe_failure(chapter: Chapter, cell: NotebookNode, error) -> str:
    numbered = [c.id for c in chapter.code_cells]
    number = numbered.index(cell.id) + 1 if cell.id in numbered else 0
    return (
        f"notebooks/{chapter.path.name}, code cell {number} of {len(numbered)} "
        f"(id {cell.id!r}), which begins\n"
        f"    {cell.source.strip().splitlines()[0]}\n"
        f"{error.ename}: {error.evalue}"
    )


def _check_declaration(
    chapter: Chapter, build: Build, touched: list[list[str]]
) -> None:
    wrote = {name for what, name in touched if what == "writes"}
    read = {name for what, name in touched if what == "reads"}
    declared = set(build.run_ids(chapter.writes))
    readable = declared | set(build.run_ids(chapter.reads))
    problems = [
        *(f"wrote {name} without declaring it" for name in sorted(wrote - declared)),
        *(f"declares {name} but did not write it" for name in sorted(declared - wrote)),
        *(f"read {name} without declaring it" for name in sorted(read - readable)),
    ]
    if problems:
        raise ChapterError(f"notebooks/{chapter.path.name} " + "; ".join(problems))


def _clean(notebook: NotebookNode) -> None:
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
        where = f"notebooks/{chapter.path.name}, cell {cell.id!r}"
        if done is None or done.source != cell.source:
            raise ChapterError(f"{where}: differs from the executed copy")
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
        f"*Computed in {minutes} on one core with at most {memory:.1f} GB of memory: "
        f"profile `{stamp['profile']}`, digits `{stamp['digits']}`.*"
    )


def main(arguments: list[str] | None = None) -> int:
    """Execute one chapter in the build folder that is the current folder."""
    parser = argparse.ArgumentParser(prog="python -m caebook.chapters")
    parser.add_argument("name", help="chapter, e.g. 03_shallow")
    name = parser.parse_args(arguments).name
    build = Build.read(Path.cwd())
    try:
        chapter = Chapter.read(root() / "notebooks" / f"{name}.ipynb")
        stamp = execute(chapter, build)
    except ChapterError as error:
        write_atomically(build.folder / "failed" / f"{name}.txt", f"{error}\n")
        say(name, "failed")
        return 1
    write_atomically(
        build.folder / "done" / f"{name}.json", json.dumps(stamp, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
