"""The build: what runs again and when, failures, kills, and the site that results.

Everything happens in a small project of three chapters, where 02_second reads the run
that 01_first writes and 03_apart stands alone. Its path has a space in it, and no build
is started from its own folder. Builds are real: processes, kernels, Snakemake, Sphinx.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from caebook.build import chapters
from caebook.build import graph as building
from caebook.build.chapters import Build, Chapter, Execution
from caebook.build.pages import page
from caebook.errors import BuildError, ChapterError

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # s, for what takes seconds on an idle machine
NAMES = ("01_first", "02_second", "03_apart")
RUN = "first{short}-keras-{digits}-s{seed}"
RUN_NAME = "first+short-keras-glyph-digits-s0"

WAIT = """
import os, time
from pathlib import Path

def wait_for(name):
    deadline = time.monotonic() + 120
    while not Path(os.environ["MARKS"], name).exists():
        assert time.monotonic() < deadline, f"no {name}"
        time.sleep(0.02)

def mark(name):
    Path(os.environ["MARKS"], name).touch()
"""
WRITE_RUN = """
import json
run = Path(runs_dir) / f"first+short-keras-{digits}-s{seed}"
run.mkdir()
(run / "encoder.onnx").touch()
(run / "decoder.onnx").touch()
(run / "run.json").write_text(json.dumps({"answer": 41}))
"""
FIRST = {
    "wait": WAIT,
    "write": WRITE_RUN,
    # ends only if 03_apart runs at the same time, and if the epoch's line is shown while
    # the cell is still running
    "train": "from caebook.training import History\nhistory = History()\n"
    "mark('first')\nwait_for('apart')\nprint('epoch of Rome')\n"
    "history.add(2, 0.5, 0.6, 1)\nwait_for('seen')\nhistory.add(2, 0.4, 0.5, 1)",
    "memory": "ballast = b'x' * 300_000_000",
}
SECOND = {
    "read": "import json\nfrom pathlib import Path\n"
    f"run = Path(runs_dir, '{RUN_NAME}', 'run.json')\n"
    "print('the answer is', json.loads(run.read_text())['answer'])",
}
APART = {
    "wait": WAIT,
    "meet": "mark('apart')\nwait_for('first')",
    "threads": "for name in sorted(os.environ):\n"
    "    if 'THREADS' in name:\n        print(name, os.environ[name])",
    "stderr": "import sys\n"
    "os.write(2, b'WARNING: All log messages before absl::InitializeLog()\\n')\n"
    "os.write(2, b'I0000 00:00:17.2 port.cc:153] oneDNN operations are on.\\n')\n"
    "print('mind the gap', file=sys.stderr)",
}


class Project:
    """A project folder, and the ways in which a person would handle it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "my project"
        self.build = self.root / "build" / "smoke"
        self.marks = folder / "marks"
        self.environment = {
            key: value
            for key, value in os.environ.items()
            # a kernel that finds pytest's does not capture what libraries print
            if not key.startswith(("CAEBOOK_", "GITHUB_", "PYTEST_"))
        } | {
            "CAEBOOK_ROOT": str(self.root),
            "MARKS": str(self.marks),
            # a copy of the package: edits to the real one must not disturb
            "PYTHONPATH": str(folder / "src"),
        }

    @classmethod
    def create(cls, folder: Path) -> "Project":
        project = cls(folder)
        shutil.copytree(
            ROOT / "src" / "caebook",
            folder / "src" / "caebook",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        project.marks.mkdir()
        (project.root / "notebooks").mkdir(parents=True)
        (project.root / "book").mkdir()
        shutil.copy(ROOT / "Snakefile", project.root)
        (project.root / ".gitignore").write_text("/build/\n")
        (project.root / "requirements.lock").write_text("one==1\n")
        (project.root / "_config.yml").write_text(
            "title: A book\nonly_build_toc_files: true\n"
            'execute: {execute_notebooks: "off"}\n'
        )
        (project.root / "book" / "index.md").write_text("# A book\n\nWelcome.\n")
        toc = "format: jb-book\nroot: index\nchapters:\n- file: status\n"
        toc += "".join(f"- file: notebooks/{name}\n" for name in NAMES)
        (project.root / "book" / "_toc.yml").write_text(toc)
        project.write("01_first", FIRST, writes=[RUN])
        project.write("02_second", SECOND, reads=[RUN])
        project.write("03_apart", APART)
        return project

    def path(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    def write(self, name, cells: dict[str, str], reads=(), writes=(), **more) -> None:
        notebook = nbformat.v4.new_notebook()
        declared = {"reads": list(reads), "writes": list(writes), **more}
        notebook.metadata["caebook"] = declared
        notebook.metadata["kernelspec"] = {
            "name": "python3", "display_name": "Python 3", "language": "python"
        }  # fmt: skip
        parameters = "profile = digits = letters = seed = runs_dir = width = None"
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# {name}\n\nOld prose.", id="title"),
            nbformat.v4.new_code_cell(
                parameters, id="parameters", metadata={"tags": ["parameters"]}
            ),
        ]
        notebook.cells += [
            nbformat.v4.new_code_cell(source, id=id) for id, source in cells.items()
        ]
        nbformat.write(notebook, self.path(name))

    @contextlib.contextmanager
    def edit(self, name: str):
        notebook = nbformat.read(self.path(name), as_version=4)
        yield {cell.id: cell for cell in notebook.cells}
        nbformat.write(notebook, self.path(name))

    def start(self, *arguments: str) -> subprocess.Popen:
        command = "-m caebook.build smoke --cores 2 "
        command += "--digits glyph-digits --letters glyph-letters"
        return subprocess.Popen(
            [sys.executable, *command.split(), *arguments],
            cwd=self.marks,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, *arguments: str, status: int = 0) -> str:
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, output
        return output

    def page(self, name: str) -> str:
        return (self.build / "html" / "notebooks" / f"{name}.html").read_text()

    def executed(self, name: str) -> nbformat.NotebookNode:
        return nbformat.read(self.build / "notebooks" / f"{name}.ipynb", as_version=4)

    def results(self) -> dict[str, bytes]:
        """Everything that a reader or a later chapter may use."""
        return {
            str(path.relative_to(self.build)): path.read_bytes()
            for part in ("html", "notebooks", "runs")
            for path in (self.build / part).rglob("*")
            if path.is_file()
        }

    def leftovers(self) -> list[str]:
        return [path.name for path in self.build.glob(".*-*")] + [
            path.name for path in (self.build / "runs").glob(".*")
        ]


def ran(output: str) -> set[str]:
    """The chapters that executed a cell, by the lines that a build printed."""
    return {name for name in NAMES if f"{name:<16} cell 1/" in output}


def text_of(notebook: nbformat.NotebookNode, id: str, stream: str = "stdout") -> str:
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return "".join(o.text for o in cell.outputs if o.get("name") == stream)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project after its first build, and what that build printed."""
    project = Project.create(tmp_path_factory.mktemp("built"))
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    subprocess.run(["git", "add", "."], cwd=project.root, check=True)
    lines = []
    with project.start() as process:
        for line in process.stdout:
            lines.append(line)
            if "epoch 1/2" in line:
                (project.marks / "seen").touch()
    output = "".join(lines)
    assert process.returncode == 0, output
    return project, output


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project, times of files included."""
    shutil.copytree(built[0].root.parent, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


# ---- a first build, and one with nothing to do ------------------------------------


def test_first_build_makes_site_notebooks_runs_and_stamps(built):
    project, _ = built
    assert "Welcome." in (project.build / "html" / "index.html").read_text()
    assert "the answer is 41" in project.page("02_second")
    assert (project.build / "runs" / RUN_NAME / "run.json").is_file()
    for name in NAMES:
        assert project.executed(name).cells[1].execution_count == 1
        stamp = json.loads((project.build / "done" / f"{name}.json").read_text())
        assert 0 < stamp["seconds"] < PATIENCE
        assert stamp["digits"] == "glyph-digits"
        # a kernel takes some 60 MB, and 01_first another 300
        low, high = (350, 700) if name == "01_first" else (50, 300)
        assert low < stamp["peak_memory_mb"] < high
    assert project.leftovers() == []


def test_progress_names_chapter_cell_and_epoch(built):
    project, output = built
    assert ran(output) == set(NAMES)
    assert "01_first         cell 4/5" in output
    epochs = [line.split(maxsplit=1) for line in output.splitlines() if "epoch" in line]
    lines = ["epoch 1/2  loss 0.5000  val_loss 0.6000  1 s"]
    lines += ["epoch 2/2  loss 0.4000  val_loss 0.5000  1 s"]
    assert epochs == [["01_first", line] for line in lines]
    # on the page, each line stands once
    train = project.executed("01_first")
    assert text_of(train, "train").splitlines() == ["epoch of Rome", *lines]
    assert text_of(train, "train", "stderr") == ""
    # and nothing of Snakemake's own talk
    words = {line.split()[0] for line in output.splitlines() if line}
    assert words <= {*NAMES, "profile", "site", "The"}


def test_each_job_has_one_thread(built):
    project, _ = built
    lines = text_of(project.executed("03_apart"), "threads").splitlines()
    assert "OMP_NUM_THREADS 1" in lines and "TF_NUM_INTRAOP_THREADS 1" in lines
    assert all(line.endswith(" 1") for line in lines)


def test_start_up_lines_are_dropped_and_other_warnings_stay(built):
    project, _ = built
    text = text_of(project.executed("03_apart"), "stderr", "stderr")
    assert text == "mind the gap\n"
    assert "mind the gap" in project.page("03_apart")


def test_injected_parameters_stay_off_the_page(built):
    project, _ = built
    injected = project.executed("03_apart").cells[2]
    assert injected.metadata.tags == ["injected-parameters"]
    page = project.page("03_apart")
    assert "runs_dir" not in page and str(project.root) not in page
    assert "Old prose." in page and "on one core, with at most" in page


def test_first_build_leaves_the_checkout_clean(built):
    project, _ = built
    command = ["git", "status", "--porcelain"]
    status = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    changed = [line for line in status.stdout.splitlines() if line[:2] != "A "]
    assert status.returncode == 0 and changed == []


def test_unchanged_build_does_nothing(project):
    before = project.results()
    output = project.make()
    assert ran(output) == set() and "building the pages" not in output
    assert "build/smoke/html/index.html" in output
    assert project.results() == before


# ---- what runs again --------------------------------------------------------------


def test_edited_prose_tags_and_captions_reach_the_page_without_executing(project):
    with project.edit("02_second") as cells:
        cells["title"].source = "# Second\n\nNew prose."
        cells["read"].metadata.tags = ["hide-input"]
        cells["read"].metadata.mystnb = {"image": {"alt": "none"}}
    output = project.make()
    assert ran(output) == set() and "building the pages" in output
    page = project.page("02_second")
    assert "New prose." in page and "Old prose." not in page
    assert "tag_hide-input" in page and "the answer is 41" in page


def test_edited_code_runs_again_with_what_reads_its_runs_and_nothing_else(project):
    with project.edit("01_first") as cells:
        cells["write"].source = WRITE_RUN.replace("41", "42")
    assert ran(project.make("--only", *NAMES)) == {"01_first", "02_second"}
    assert "is 42" in text_of(project.executed("02_second"), "read")


@pytest.fixture
def prepared(project, monkeypatch):
    """`prepare` in this process, and which chapters it finds changed or undone."""
    monkeypatch.setenv("CAEBOOK_ROOT", str(project.root))
    package = project.root.parent / "src" / "caebook"
    monkeypatch.setattr(building, "__file__", str(package / "build.py"))
    monkeypatch.setattr(building, "repository_address", lambda: None)

    def states() -> dict[str, object]:
        return {
            name: (
                (project.build / "inputs" / f"{name}.json").stat().st_mtime_ns,
                (project.build / "done" / f"{name}.json").is_file(),
            )
            for name in NAMES
        }

    def prepare(seed: int = 0, digits: str = "glyph-digits") -> set[str]:
        before = states()
        building.prepare(Build("smoke", digits, "glyph-letters", seed))
        after = states()
        return {name for name in NAMES if before[name] != after[name]}

    assert prepare() == set()
    return project, prepare


def test_edited_code_concerns_its_chapter_and_prose_none(prepared):
    project, prepare = prepared
    with project.edit("02_second") as cells:
        cells["title"].source = "# New"
    assert prepare() == set()
    with project.edit("02_second") as cells:
        cells["read"].source += "\nprint('twice')"
    assert prepare() == {"02_second"}


def test_lock_seed_and_data_set_concern_every_chapter(prepared):
    project, prepare = prepared
    assert prepare(seed=1) == set(NAMES)
    assert prepare(seed=1, digits="mnist") == set(NAMES)
    assert prepare(seed=1, digits="mnist") == set()
    (project.root / "requirements.lock").write_text("one==2\n")
    assert prepare(seed=1, digits="mnist") == set(NAMES)


def test_package_concerns_every_chapter_but_its_engine_none(prepared):
    project, prepare = prepared
    package = project.root.parent / "src" / "caebook"
    site = project.build / "inputs" / "site.json"
    before = site.read_text()
    with open(package / "site.py", "a") as file:
        file.write("# changed\n")
    assert prepare() == set() and site.read_text() != before
    with open(package / "training" / "torch.py", "a") as file:
        file.write("# changed\n")
    assert prepare() == set(NAMES)


def test_reference_concerns_chapters_that_read_runs(prepared):
    project, prepare = prepared
    folder = project.root / "reference" / "other-keras-mnist-s0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    assert prepare() == {"02_second"}


@pytest.mark.parametrize(
    "lost", [f"runs/{RUN_NAME}/run.json", "notebooks/01_first.ipynb"]
)
def test_lost_results_are_made_again(prepared, lost):
    project, prepare = prepared
    (project.build / lost).unlink()
    assert prepare() == {"01_first"}


def test_lost_site_is_made_again(prepared):
    project, prepare = prepared
    assert (project.build / "site.json").is_file()
    shutil.rmtree(project.build / "html")
    assert prepare() == set()
    assert not (project.build / "site.json").is_file()


# ---- failures ---------------------------------------------------------------------


def test_failing_cell_and_dying_kernel_are_named_and_lose_nothing(project):
    before = project.results()
    with project.edit("01_first") as cells:
        cells["write"].source = WRITE_RUN.replace("41", "42")
        cells["train"].source = "# comes after a run was written\n1 / 0"
    with project.edit("03_apart") as cells:
        cells["meet"].source = "os._exit(3)"
    output = project.make(status=1)
    assert "The book was not built." in output
    report = output.partition("The book was not built.")[2].strip().splitlines()
    assert report == [
        "notebooks/01_first.ipynb, code cell 4 of 5 (id 'train'), which begins",
        "    # comes after a run was written",
        "ZeroDivisionError: division by zero",
        "",
        "notebooks/03_apart.ipynb, code cell 3 of 5 (id 'meet'), which begins",
        "    os._exit(3)",
        "DeadKernelError: Kernel died",
    ]
    assert project.results() == before
    failed = project.build / "failed"
    assert "ZeroDivisionError" in (failed / "01_first.ipynb").read_text()
    assert (failed / "03_apart.ipynb").is_file()
    assert project.leftovers() == []

    with project.edit("01_first") as cells:
        cells["train"].source = FIRST["train"]
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    assert "is 42" in text_of(project.executed("02_second"), "read")
    assert not (failed / "01_first.ipynb").exists()


def test_only_declared_runs_can_be_read_and_must_be_written(project):
    before = project.results()
    project.write("01_first", {"wait": WAIT, "write": WRITE_RUN}, writes=[RUN, "other"])
    with project.edit("01_first") as cells:
        cells["write"].source += "run.rename(run.with_name('third'))"
    code = f"class RunError(Exception):\n    pass\n\n{SECOND['read']}".replace(
        "print(", "raise RunError(run.exists()) if not run.exists() else print("
    )
    project.write("03_apart", {"read": code})
    output = project.make(status=1)
    assert (
        "notebooks/01_first.ipynb wrote third without declaring it; "
        f"declares {RUN_NAME} but did not write it; "
        "declares other but did not write it\n" in output
    )
    assert "RunError: False (A chapter sees only what its metadata" in output
    assert project.results() == before
    assert (project.build / "failed" / "01_first.ipynb").is_file()


WRITE_BOTH = f"""
from pathlib import Path
{WRITE_RUN}
(Path(runs_dir) / "findings").mkdir()
(Path(runs_dir) / "findings" / "01_claims.json").write_text(json.dumps({{"held": 7}}))
"""
READ_FINDING = """
import json
from pathlib import Path
class FindingError(Exception):
    pass
claims = Path(runs_dir, "findings", "01_claims.json")
if not claims.exists():
    raise FindingError(f"no {claims.name}")
print("held:", json.loads(claims.read_text())["held"])
"""


def test_findings_travel_as_runs_do(project):
    writes = [RUN, "findings/01_claims"]
    project.write("01_first", {"write": WRITE_BOTH}, writes=writes)
    project.write("02_second", {"read": READ_FINDING}, reads=["findings/01_claims"])
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    claims = project.build / "runs" / "findings" / "01_claims.json"
    assert json.loads(claims.read_text()) == {"held": 7}
    assert "held: 7" in text_of(project.executed("02_second"), "read")

    # lost: made again, and what reads it runs again
    claims.unlink()
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    assert json.loads(claims.read_text()) == {"held": 7}

    # another: takes the place of the first
    with project.edit("01_first") as cells:
        cells["write"].source = WRITE_BOTH.replace("7", "8")
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    assert "held: 8" in text_of(project.executed("02_second"), "read")

    # not the one declared: nothing changes
    with project.edit("01_first") as cells:
        cells["write"].source = WRITE_BOTH.replace("01_claims", "01_other")
    output = project.make("--only", "01_first", status=1)
    assert (
        "notebooks/01_first.ipynb wrote findings/01_other without declaring it; "
        "declares findings/01_claims but did not write it\n" in output
    )
    assert json.loads(claims.read_text()) == {"held": 8}
    assert [path.name for path in claims.parent.iterdir()] == ["01_claims.json"]
    assert project.leftovers() == []


def test_only_declared_findings_can_be_read(project):
    claims = project.build / "runs" / "findings" / "01_claims.json"
    claims.parent.mkdir()
    claims.write_text('{"held": 7}')
    project.write("03_apart", {"read": READ_FINDING})
    output = project.make("--only", "03_apart", status=1)
    assert "FindingError: no 01_claims.json (A chapter sees only what" in output
    project.write("03_apart", {"read": READ_FINDING}, reads=["findings/01_claims"])
    output = project.make("--only", "03_apart", status=1)
    assert "03_apart.ipynb reads findings/01_claims, which no chapter" in output


def test_warning_fails_the_site_and_keeps_the_earlier_one(project):
    before = project.results()
    (project.root / "book" / "index.md").write_text("# A book\n\n{ref}`nowhere`\n")
    output = project.make(status=1)
    assert "the site does not build cleanly" in output
    assert "index.md:3: WARNING" in output and "nowhere" in output
    assert project.results() == before and project.leftovers() == []


def test_error_in_the_graph_itself_is_shown(project):
    with open(project.root / "Snakefile", "a") as file:
        file.write("\nrule broken\n")
    output = project.make(status=1)
    assert "SyntaxError" in output and "Snakefile" in output


# ---- interruptions ----------------------------------------------------------------


@contextlib.contextmanager
def stuck(project):
    """A build in the middle of a cell, and its processes, kernel included."""
    with project.edit("01_first") as cells:
        cells["train"].source = "mark('stuck')\nwait_for(os.environ['GATE'])"
    project.environment["GATE"] = "closed"
    with project.start() as process:
        deadline = time.monotonic() + PATIENCE
        while not (project.marks / "stuck").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("ipykernel_launcher" in " ".join(p.cmdline()) for p in family)
        try:
            yield process, family
        finally:
            process.kill()
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process
        for process in family
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("also", [None, "snakemake"])
def test_killed_build_does_not_hinder_the_next(project, also):
    before = project.results()
    with stuck(project) as (process, family):
        killed = [p for p in family if also and also in " ".join(p.cmdline()[:3])]
        assert bool(killed) == bool(also)
        for victim in (process, *killed):
            victim.kill()
        process.wait()
        assert project.results() == before
        project.environment["GATE"] = "stuck"  # open, for the next build
        remaining = None
        with project.start("--only", "01_first") as process:
            for line in process.stdout:
                if "01_first         cell 1/" in line:
                    remaining = alive(family)  # when the new build gets to work
        assert process.returncode == 0
        assert remaining == []
    assert project.leftovers() == []
    after = project.results()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"notebooks/01_first.ipynb"}


def test_second_build_is_refused_and_the_first_stops_on_ctrl_c(project):
    before = project.results()
    with stuck(project) as (process, family):
        output = project.make(status=1)
        assert "another build is at work" in output and str(project.build) in output
        assert process.poll() is None and len(alive(family)) == len(family)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert output.strip().endswith("Stopped. The next build goes on from here.")
        assert "Traceback" not in output
        assert alive(family) == []
    assert project.results() == before and project.leftovers() == []


# ---- chapters ---------------------------------------------------------------------


def spoil_metadata(raw):
    del raw["metadata"]["caebook"]


def spoil_declaration(raw):
    raw["metadata"]["caebook"]["reads"] = "one"


def spoil_parameters(raw):
    del raw["cells"][1]["metadata"]["tags"]


def spoil_id(raw):
    del raw["cells"][2]["id"]


def double_id(raw):
    raw["cells"][2]["id"] = "title"


def spoil_cell(raw):
    del raw["cells"][2]["source"]


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_metadata, 'metadata lack "caebook"'),
        (spoil_declaration, 'metadata lack "caebook"'),
        (spoil_parameters, "one cell tagged 'parameters'"),
        (spoil_id, "an id of its own"),
        (double_id, "an id of its own"),
        (spoil_cell, "not a valid notebook"),
        (dict.clear, "not a valid notebook"),
    ],
)
def test_unfit_notebook_is_refused_by_name(tmp_path, spoil, message):
    path = Project.create(tmp_path).path("01_first")
    Chapter.read(path)
    raw = json.loads(path.read_text())
    spoil(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(ChapterError, match=r"01_first\.ipynb") as caught:
        Chapter.read(path)
    assert message in str(caught.value)


def test_no_chapters_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    with pytest.raises(ChapterError, match="holds no chapter"):
        chapters.find_chapters()


def test_graph_follows_the_declarations(tmp_path, monkeypatch):
    project = Project.create(tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", str(project.root))
    smoke = Build("smoke", "glyph-digits", "glyph-letters", 0)

    def graph(build=smoke):
        return building.job_graph(chapters.find_chapters(), build)

    expected = {"01_first": [], "02_second": ["01_first"], "03_apart": []}
    assert graph() == expected
    assert chapters.find_chapters()[0].writes(smoke) == [RUN_NAME]
    full = Build("full", "mnist", "glyph-letters", 7)
    assert chapters.find_chapters()[0].writes(full) == ["first-keras-mnist-s7"]
    project.write("03_apart", APART, reads=["lost-keras-mnist-s0"])
    with pytest.raises(BuildError, match=r"03_apart\.ipynb reads lost.*no chapter"):
        graph()
    (project.root / "reference" / "lost-keras-mnist-s0").mkdir(parents=True)
    assert graph() == expected
    project.write("03_apart", APART, writes=[RUN])
    with pytest.raises(BuildError, match="01_first and 03_apart both write"):
        graph()
    project.write("03_apart", APART, writes=["{nonsense}"])
    with pytest.raises(BuildError, match=r"03_apart.*\{digits\}.*nonsense"):
        graph()


def test_page_is_published_whole_or_not_at_all(built):
    project, _ = built
    stamp = json.loads((project.build / "done" / "02_second.json").read_text())

    def page(change):
        chapter = Chapter.read(project.path("02_second"))
        executed = project.executed("02_second")
        change(chapter.notebook, executed)
        return chapters.page(chapter, executed, stamp)

    def other_code(chapter, executed):
        chapter.cells[2].source += "\nprint()"

    def more_code(chapter, executed):
        chapter.cells.append(nbformat.v4.new_code_cell("1"))

    def not_executed(chapter, executed):
        executed.cells[3].execution_count = None

    def error(chapter, executed):
        executed.cells[3].outputs = [
            nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
        ]

    def other_prose(chapter, executed):
        chapter.cells[0].source = "# New"

    made = page(other_prose)
    assert made.cells[0].source == "# New"
    assert made.cells[1].source.startswith("*Computed in")
    assert "answer is 41" in text_of(made, "read")
    assert "injected-parameters" not in str(made)
    for change in (other_code, more_code, not_executed, error):
        with pytest.raises(ChapterError, match=r"02_second\.ipynb, cell"):
            page(change)


def test_epoch_lines_are_put_together_from_pieces(built, capsys):
    progress = chapters._Progress(Chapter.read(built[0].path("01_first")))
    pieces = ["Executing Cell 3---", "epo", "no line", "epoch 1/2  lo", "ss 0.5\nepoch"]
    for piece in [*pieces, " 2/2  loss 0.4\nother\n"]:
        progress.handle(chapters.logging.makeLogRecord({"msg": piece}))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in printed] == [
        ["01_first", "epoch 1/2  loss 0.5"],
        ["01_first", "epoch 2/2  loss 0.4"],
    ]


# ---- an experiment: one notebook, executed for each point of a grid ---------------

GRID = {"smoke": [{"width": [1], "seeds": 2}, {"width": [1, 30], "seeds": 1}]}
GRID_RUN = "grid+width{width}{short}-keras-{digits}-s{seed}"
MEASURE = """
import json
from pathlib import Path
run = Path(runs_dir) / f"grid+width{width}+short-keras-{digits}-s{seed}"
run.mkdir()
(run / "run.json").write_text(json.dumps({"area": width * width + seed}))
print("measured", width)
"""
GATHER = """
import json
from pathlib import Path
found = {p.parent.name: json.loads(p.read_text())["area"]
         for p in sorted(Path(runs_dir).glob("*/run.json"))}
print(list(found.values()))
"""
JOBS = ["grid@width1-seed0", "grid@width1-seed1", "grid@width30-seed0"]


def ran_of_experiment(output: str) -> set[str]:
    return {name for name in [*JOBS, "01_gather"] if f"{name:<16} cell 1/" in output}


@pytest.fixture
def experiment(tmp_path):
    project = Project.create(tmp_path)
    for name in NAMES:
        project.path(name).unlink()
    (project.root / "notebooks" / "experiments").mkdir()
    project.write(
        "experiments/grid", {"measure": MEASURE}, writes=[GRID_RUN], grid=GRID
    )
    project.write("01_gather", {"gather": GATHER}, reads=["experiments/grid"])
    toc = "format: jb-book\nroot: index\nchapters:\n- file: status\n"
    toc += "- file: notebooks/01_gather\n- file: notebooks/experiments/grid\n"
    (project.root / "book" / "_toc.yml").write_text(toc)
    return project


def test_experiment_runs_once_a_point_and_resumes(experiment):
    output = experiment.make()
    assert ran_of_experiment(output) == {*JOBS, "01_gather"}
    for name in JOBS:
        assert output.index(f"{name:<16} done") < output.index("01_gather        cell")
    assert "[1, 2, 900]" in experiment.page("01_gather")
    assert "measured 1\n" in experiment.page("experiments/grid")  # the first point
    status = (experiment.build / "html" / "status.html").read_text()
    assert "experiments/grid" in status and '<td class="text-right"><p>3</p>' in status
    stamp = json.loads((experiment.build / "done" / f"{JOBS[1]}.json").read_text())
    assert (stamp["width"], stamp["seed"]) == (1, 1)
    # what was not finished runs again, and what reads it; the rest stays
    (experiment.build / "done" / f"{JOBS[2]}.json").unlink()
    shutil.rmtree(experiment.build / "runs" / "grid+width1+short-keras-glyph-digits-s1")
    again = experiment.make("--only", "01_gather")
    assert ran_of_experiment(again) == {JOBS[1], JOBS[2], "01_gather"}
    (experiment.build / "done" / "01_gather.json").unlink()
    assert ran_of_experiment(experiment.make("--only", "grid")) == set()
    experiment.make("--only", "01_gather")
    # a new point is all that a larger grid adds
    wider = {"smoke": [*GRID["smoke"], {"width": [5], "seeds": 1}]}
    experiment.write(
        "experiments/grid", {"measure": MEASURE}, writes=[GRID_RUN], grid=wider
    )
    output = experiment.make("--only", "01_gather")
    assert ran_of_experiment(output) == {"01_gather"}
    assert "grid@width5-seed0 cell 1/" in output
    assert "[1, 2, 900, 25]" in text_of(experiment.executed("01_gather"), "gather")


def test_failing_point_is_named_and_the_others_stay(experiment):
    with experiment.edit("experiments/grid") as cells:
        cells["measure"].source += "assert width < 30, 'too wide'"
    output = experiment.make("--only", "01_gather", status=1)
    assert "notebooks/experiments/grid.ipynb, code cell 2" in output
    assert "too wide" in output
    assert (experiment.build / "failed" / f"{JOBS[2]}.ipynb").is_file()
    assert not (experiment.build / "done" / "01_gather.json").exists()


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"smoke": []},
        {"smoke": [{"width": [1]}]},
        {"smoke": [{"width": 1, "seeds": 1}]},
        {"smoke": [{"width": [1], "seeds": 0}]},
        {"smoke": [{"width": [1], "seeds": "two"}]},
        {"smoke": 3},
        3,
    ],
)
def test_grid_that_is_none(experiment, monkeypatch, grid):
    monkeypatch.setenv("CAEBOOK_ROOT", str(experiment.root))
    experiment.write("experiments/grid", {"measure": MEASURE}, grid=grid)
    with pytest.raises(ChapterError, match=r"grid\.ipynb.*grid"):
        chapters.find_jobs(Build("smoke", "glyph-digits", "glyph-letters", 0))


def test_points_need_runs_of_their_own(experiment, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(experiment.root))
    writes = ["grid{short}-keras-{digits}-s{seed}"]
    experiment.write("experiments/grid", {"m": MEASURE}, writes=writes, grid=GRID)
    smoke = Build("smoke", "glyph-digits", "glyph-letters", 0)
    with pytest.raises(BuildError, match=f"{JOBS[0]} and {JOBS[2]} both write grid"):
        building.job_graph(chapters.find_jobs(smoke), smoke)


def test_unknown_job(experiment, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(experiment.root))
    smoke = Build("smoke", "glyph-digits", "glyph-letters", 4)
    assert chapters.find_job("grid@width1-seed5", smoke).point["seed"] == 5
    for name in ("grid", "grid@width1-seed0", "02_lost"):
        with pytest.raises(ChapterError, match=name):
            chapters.find_job(name, smoke)
