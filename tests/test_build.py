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
from caebook.build.chapter_page import folded, page
from caebook.build.chapters import Build, Chapter, Execution
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
    # ends only if 03_apart runs at the same time, and if the first epoch is shown while
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
    "    if 'THREADS' in name:\n        print(name, os.environ[name])\n"
    "print('warnings', os.environ.get('PYTHONWARNINGS'))",
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
        self.package = folder / "src" / "caebook"  # a copy: edits must not disturb
        self.environment = {
            key: value
            for key, value in os.environ.items()
            # a kernel that finds pytest's does not capture what libraries print
            if not key.startswith(("CAEBOOK_", "GITHUB_", "PYTEST_"))
        } | {
            "CAEBOOK_ROOT": str(self.root),
            "PYTHONWARNINGS": "ignore",  # which must not reach a chapter
            "MARKS": str(self.marks),
            "PYTHONPATH": str(self.package.parent),
        }

    @classmethod
    def create(cls, folder: Path) -> "Project":
        project = cls(folder)
        shutil.copytree(
            ROOT / "src" / "caebook",
            project.package,
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
        parameters = "profile = digits = letters = seed = runs_dir = None"
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

    def pending(self, *only: str) -> set[str]:
        """The jobs that a build would run now, in this process to be quick."""
        build = Build("smoke", "glyph-digits", "glyph-letters", 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CAEBOOK_ROOT", str(self.root))
            patch.delenv("GITHUB_REPOSITORY", raising=False)
            patch.delenv("CAEBOOK_LAUNCH_BRANCH", raising=False)
            patch.setattr(building, "PACKAGE", self.package)
            building.prepare(build, list(only))
            return set(building.pending(build.folder))

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


def test_first_build_makes_site_notebooks_runs_and_records(built):
    project, _ = built
    assert "Welcome." in (project.build / "html" / "index.html").read_text()
    assert "the answer is 41" in project.page("02_second")
    assert (project.build / "runs" / RUN_NAME / "run.json").is_file()
    for name in NAMES:
        assert project.executed(name).cells[1].execution_count == 1
        record = json.loads((project.build / "done" / f"{name}.json").read_text())
        assert 0 < record["seconds"] < PATIENCE
        assert record["digits"] == "glyph-digits"
        # a kernel takes some 60 MB, and 01_first another 300
        low, high = (350, 700) if name == "01_first" else (50, 300)
        assert low < record["peak_memory_mb"] < high
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


def test_each_job_has_one_thread_and_its_own_warnings(built):
    project, _ = built
    *lines, warnings = text_of(project.executed("03_apart"), "threads").splitlines()
    assert warnings == "warnings None"
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
    assert project.make("--dry-run") == "\n"


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
    assert project.pending(*NAMES) == {"01_first", "02_second"}


def test_lost_result_is_made_again_with_what_reads_it(project):
    for lost in (
        f"runs/{RUN_NAME}/run.json",
        f"runs/{RUN_NAME}/encoder.onnx",
        "notebooks/01_first.ipynb",
        "done/01_first.json",
    ):
        path, aside = project.build / lost, project.build / "aside"
        path.rename(aside)
        assert project.pending("02_second") == {"01_first", "02_second"}, lost
        aside.rename(path)
    assert project.pending("02_second") == set()


def test_lost_site_is_made_again_without_executing(project):
    shutil.rmtree(project.build / "html")
    assert project.pending() == {"site"}


@pytest.fixture
def changed(project, monkeypatch):
    """A function that says, after an edit, for which jobs what has changed."""
    monkeypatch.setenv("CAEBOOK_ROOT", str(project.root))
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("CAEBOOK_LAUNCH_BRANCH", raising=False)
    monkeypatch.setattr(building, "PACKAGE", project.package)

    def inputs() -> dict[str, dict]:
        folder = project.build / "inputs"
        return {path.stem: json.loads(path.read_text()) for path in folder.glob("*")}

    def changed(seed: int = 0, digits: str = "glyph-digits") -> dict[str, set[str]]:
        before = inputs()
        building.prepare(Build("smoke", digits, "glyph-letters", seed))
        return {
            name: {key for key in after if after[key] != before[name][key]}
            for name, after in inputs().items()
            if after != before[name]
        }

    assert changed() == {}
    return changed


def test_code_concerns_its_chapter_and_prose_the_site(project, changed):
    with project.edit("02_second") as cells:
        cells["title"].source = "# New"
    assert changed() == {"site": {"chapters"}}
    with project.edit("02_second") as cells:
        cells["read"].source += "\nprint('twice')"
    assert changed() == {"02_second": {"code"}, "site": {"chapters"}}


def test_lock_seed_and_data_set_concern_every_chapter(project, changed):
    assert changed(seed=1).keys() == set(NAMES)
    assert changed(seed=1, digits="mnist").keys() == set(NAMES)
    (project.root / "requirements.lock").write_text("one==2\n")
    everything = {name: {"lock"} for name in (*NAMES, "site")}
    assert changed(seed=1, digits="mnist") == everything


@pytest.mark.parametrize(
    ("edited", "concerned"),
    [
        ("training/history.py", {"01_first", "site"}),  # which imports it
        ("errors.py", {"01_first", "site"}),  # which training imports
        ("codec/models/README", set()),  # which no chapter here imports
        ("cli/codec.py", set()),
        ("build/execute.py", {"site"}),
        ("__init__.py", {*NAMES, "site"}),
    ],
)
def test_room_concerns_the_chapters_that_import_it(project, changed, edited, concerned):
    with open(project.package / edited, "a") as file:
        file.write("# changed\n")
    assert changed() == {name: {"rooms"} for name in concerned}


def test_reference_run_concerns_the_chapters_that_declare_it(project, changed):
    def add(name):
        folder = project.root / "reference" / name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "run.json", "a") as file:
            file.write("{}")

    add("other-keras-glyph-digits-s0")
    add("first-torch-glyph-digits-s0")
    assert changed() == {}
    add("first-keras-glyph-digits-s0")  # the full training of what they declare
    expected = {name: {"reference"} for name in ("01_first", "02_second")}
    assert changed() == expected
    add("first-keras-glyph-digits-s0")  # its record is another now
    assert changed() == expected


def test_address_and_launch_branch_concern_the_site(changed, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/book")
    assert changed() == {"site": {"launch"}}
    monkeypatch.setenv("CAEBOOK_LAUNCH_BRANCH", "launch")
    assert changed() == {"site": {"launch"}}


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
    # It runs again, although Snakemake has given the restored results a new time.
    assert project.pending("02_second") == {"01_first", "02_second"}

    with project.edit("01_first") as cells:
        cells["train"].source = FIRST["train"]
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    assert "is 42" in text_of(project.executed("02_second"), "read")
    assert not (failed / "01_first.ipynb").exists()


def test_cell_that_is_not_python_is_named_before_anything_runs(project):
    with project.edit("03_apart") as cells:
        cells["meet"].source = "%time 1\nfor"
    output = project.make(status=1)
    assert "notebooks/03_apart.ipynb, cell 'meet', line 2: not valid Python" in output
    with project.edit("03_apart") as cells:
        cells["meet"].source = "%time 1"
    assert project.pending("03_apart") == {"03_apart"}


WRITE_OTHERS = (
    WRITE_RUN
    + """
run.rename(run.with_name("third"))
(run.parent / "half-s0").mkdir()
(run.parent / "half-s0" / "run.json").touch()
"""
)
READ_UNDECLARED = f"""
from pathlib import Path

class RunError(Exception):
    pass

run, claims = Path(runs_dir, "{RUN_NAME}"), Path(runs_dir, "findings", "01_claims.json")
raise RunError(run.exists(), claims.exists())
"""


def test_only_declared_runs_can_be_read_and_must_be_written(project):
    (project.build / "runs" / "findings").mkdir()
    (project.build / "runs" / "findings" / "01_claims.json").touch()
    before = project.results()
    declared = [RUN, "other", "half-s0", "findings/01_claims"]
    project.write("01_first", {"wait": WAIT, "write": WRITE_OTHERS}, writes=declared)
    project.write("03_apart", {"read": READ_UNDECLARED})
    output = project.make(status=1)
    assert (
        "notebooks/01_first.ipynb wrote third without declaring it; "
        f"declares findings/01_claims but did not write it; "
        f"declares {RUN_NAME} but did not write it; "
        "declares other but did not write it; "
        "wrote half-s0 without encoder.onnx; wrote half-s0 without decoder.onnx\n"
        in output
    )
    assert "RunError: (False, False) (A chapter sees only what its metadata" in output
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
print("held:", json.loads(Path(runs_dir, "findings", "01_claims.json").read_text()))
"""


def test_findings_travel_as_runs_do(project):
    project.write("01_first", {"write": WRITE_BOTH}, writes=[RUN, "findings/01_claims"])
    project.write("02_second", {"read": READ_FINDING}, reads=["findings/01_claims"])
    assert ran(project.make("--only", "02_second")) == {"01_first", "02_second"}
    assert "held: {'held': 7}" in text_of(project.executed("02_second"), "read")
    claims = project.build / "runs" / "findings" / "01_claims.json"
    claims.unlink()
    assert project.pending("02_second") == {"01_first", "02_second"}


def test_warning_fails_the_site_and_keeps_the_earlier_one(project):
    before = project.results()
    (project.root / "book" / "index.md").write_text("# A book\n\n{ref}`nowhere`\n")
    output = project.make(status=1)
    assert "the site does not build cleanly" in output
    assert "index.md:3: WARNING" in output and "nowhere" in output
    assert project.results() == before and project.leftovers() == []
    assert project.pending() == {"site"}


def test_error_in_the_graph_itself_is_shown(project):
    with open(project.root / "Snakefile", "a") as file:
        file.write("\nrule broken\n")
    for arguments in ([], ["--dry-run"]):
        output = project.make(*arguments, status=1)
        assert "SyntaxError" in output and "Snakefile" in output, arguments


def test_digits_and_letters_must_be_two_data_sets(project):
    output = project.make("--digits", "glyph-letters", status=1)
    assert "digits and letters are both 'glyph-letters'" in output


def test_unknown_chapter_is_named(project):
    output = project.make("--only", "02_lost", "03_apart", status=1)
    assert "there is no chapter 02_lost; there are 01_first, 02_second" in output


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
def test_invalid_notebook_is_refused_by_name(tmp_path, spoil, message):
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
    (project.root / "reference" / "lost-keras-mnist-s0" / "run.json").touch()
    assert graph() == expected
    # a full training there serves a chapter that declares the brief one
    project.write("03_apart", APART, reads=["lost+short-keras-mnist-s0"])
    (job,) = (job for job in chapters.find_chapters() if job.name == "03_apart")
    assert building.reference_runs(job, smoke) == ["lost-keras-mnist-s0"]
    assert graph() == expected
    project.write("03_apart", APART, writes=[RUN])
    with pytest.raises(BuildError, match="01_first and 03_apart both write"):
        graph()
    project.write("03_apart", APART, writes=["{nonsense}"])
    with pytest.raises(BuildError, match=r"03_apart.*\{digits\}.*nonsense"):
        graph()


def test_page_is_published_whole_or_not_at_all(built):
    project, _ = built
    took = Execution(seconds=119.9, peak_memory_mb=1234, created="", writes=[])

    def made(change):
        chapter = Chapter.read(project.path("02_second"))
        executed = project.executed("02_second")
        change(chapter.notebook, executed)
        return page(chapter, executed, took)

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

    new = made(other_prose)
    assert new.cells[0].source == "# New"
    assert new.cells[1].source == (
        "*Computed in 2.0 minutes on one core, with at most 1.2 GB of memory.*"
    )
    assert "answer is 41" in text_of(new, "read")
    assert "injected-parameters" not in str(new)
    for change in (other_code, more_code, not_executed, error):
        with pytest.raises(ChapterError, match=r"02_second\.ipynb, cell"):
            made(change)


def code_cell(source: str, *tags: str, shows: str | None = None):
    """An executed cell that glues a value, and shows a text if there is one."""
    glued = nbformat.v4.new_output(
        "display_data", {"text/plain": "1"}, metadata={"scrapbook": {"name": source}}
    )
    outputs = [glued]
    if shows:
        outputs.append(nbformat.v4.new_output("stream", text=shows))
    return nbformat.v4.new_code_cell(
        source, outputs=outputs, metadata={"tags": [*tags]}
    )


def test_silent_folds_join_the_fold_below_and_each_says_what_it_holds():
    text = nbformat.v4.new_markdown_cell("text")
    cells = [
        code_cell("a", "hide-input"),
        code_cell("b", "hide-input"),
        code_cell("c", "hide-input", shows="figure"),
        code_cell("d", "hide-input"),
        text,
        code_cell("e", "hide-input", "hide-output", shows="answer"),
        code_cell("f", "hide-output", shows="answer"),
        code_cell("g", "hide-input"),
        code_cell("h", "tab-keras"),
    ]
    found = folded(cells)
    assert [cell.source for cell in found] == [
        "a\n\n\nb\n\n\nc", "d", "text", "e", "f", "g", "h"
    ]  # fmt: skip
    joined, _, _, both, answer, *_ = found
    names = [output.metadata["scrapbook"].name for output in joined.outputs[:3]]
    assert names == ["a", "b", "c"]
    assert joined.outputs[-1].text == "figure"
    assert both.metadata.tags == ["hide-cell"]
    shown = [cell.metadata["mystnb"]["code_prompt_show"] for cell in (both, answer)]
    assert shown == ["Show the code and what comes out", "Show what comes out"]


def test_unknown_chapter_is_refused(tmp_path, monkeypatch):
    project = Project.create(tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", str(project.root))
    assert chapters.find_chapter("01_first").path == project.path("01_first")
    with pytest.raises(ChapterError, match="no chapter 02_lost"):
        chapters.find_chapter("02_lost")
