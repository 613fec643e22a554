"""Chapters: what a notebook declares to read and to write, and what it took to run.

Each chapter is a job of the build.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from caebook.errors import ChapterError
from caebook.files import digest, root


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
class Execution:
    """What one execution of a chapter took: ``done/<job>.json`` in the build's folder.

    Attributes
    ----------
    seconds : what it took, from the start of its job
    peak_memory_mb : largest resident memory of the kernel, in 10⁶ bytes
    created : when it ended, in UTC
    writes : names of the runs and findings that it wrote
    """

    seconds: float
    peak_memory_mb: int
    created: str
    writes: list[str]

    @classmethod
    def read(cls, job: Chapter, build: Build) -> Execution:
        record = json.loads((build.folder / job.record).read_text())
        return cls(*(record[name] for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Chapter:
    """A notebook of the book, with what it declares to read and write.

    That is findings, e.g. ``findings/05_claims``, and runs, whose names are templates,
    e.g. ``shallow{short}-keras-{digits}-s{seed}``. To read ``reference/ladder+*`` is to
    read the runs of that name that ``reference/`` holds.

    Attributes
    ----------
    declared : the notebook's ``caebook`` metadata: reads and writes
    """

    path: Path
    notebook: NotebookNode
    declared: dict

    @property
    def name(self) -> str:
        """Name of the notebook and of its job, e.g. ``03_shallow``."""
        return self.path.stem

    @property
    def record(self) -> str:
        """Where a build records its `Execution`."""
        return f"done/{self.name}.json"

    @property
    def executed(self) -> str:
        """Where a build keeps the executed notebook."""
        return f"notebooks/{self.name}.ipynb"

    @property
    def code_cells(self) -> list[NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def code_digest(self) -> str:
        """Changes when code does, not when prose, tags or captions do."""
        return digest([cell.source for cell in self.code_cells])

    def reads(self, build: Build) -> list[str]:
        """Names of the runs and findings that this chapter may read."""
        names = self._names("reads", build)
        return [name for name in names if not name.startswith("reference/")]

    def writes(self, build: Build) -> list[str]:
        """Names of the runs and findings that this chapter must write."""
        return self._names("writes", build)

    def planned_reads(self) -> list[str]:
        """Patterns of the runs in ``reference/`` that this chapter reads if they exist.

        E.g. ``ladder+*``, declared as ``reference/ladder+*``.
        """
        declared = self.declared["reads"]
        prefix = "reference/"
        return [n.removeprefix(prefix) for n in declared if n.startswith(prefix)]

    def _names(self, what: str, build: Build) -> list[str]:
        short = "" if build.profile == "full" else "+short"
        values = {"short": short, **asdict(build)}
        try:
            return [name.format(**values) for name in self.declared[what]]
        except (KeyError, IndexError, ValueError) as error:
            raise ChapterError(
                f"{self.path}: invalid name of a run that it {what}; allowed are "
                f"{', '.join(f'{{{key}}}' for key in values)}: {error}"
            ) from error

    @classmethod
    def read(cls, path: Path) -> Chapter:
        """Read and check a chapter.

        Raises
        ------
        ChapterError
            If it is not a valid notebook, or lacks what the build relies on.
        """
        try:
            text = path.read_text(encoding="utf-8")
            # Outputs are matched by id; nbformat makes up missing ones, each time anew.
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
    """All chapters, in reading order, and then the appendices."""
    folder = root() / "notebooks"
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    if not paths:
        raise ChapterError(f"{folder}: holds no chapter (NN_….ipynb)")
    return [
        Chapter.read(path) for path in (*paths, *sorted(folder.glob("[a-z]_*.ipynb")))
    ]


def find_chapter(name: str) -> Chapter:
    """The chapter with that name; ChapterError if there is none."""
    path = root() / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        raise ChapterError(f"there is no chapter {name}")
    return Chapter.read(path)


def stored(name: str) -> Path:
    """Path below ``runs/`` of a run (its folder) or a finding (its file)."""
    return Path(f"{name}.json" if name.startswith("findings/") else name)


def stored_files(name: str) -> list[Path]:
    """Paths below ``runs/`` of the files that a run or a finding consists of.

    A run of a system named ``classifier`` is one model, any other is two.
    """
    path = stored(name)
    if name.startswith("findings/"):
        return [path]
    models = ["classifier"] if name.startswith("classifier") else ["encoder", "decoder"]
    return [path / "run.json", *(path / f"{model}.onnx" for model in models)]


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])
