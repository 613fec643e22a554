"""The build on a cluster: Snakemake submits every job by a profile.

The profile cluster/local submits to processes of this machine, which get nothing of the
build's environment but what Snakemake passes on. The book is that of test_build.py.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from test_build import (
    NAMES,
    PATIENCE,
    RUN,
    RUN_NAME,
    SECOND,
    WRITE_RUN,
    Project,
    ran,
    text_of,
)

from caebook.build import cluster
from caebook.build.lock import only_build
from caebook.errors import BuildError

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / "cluster" / "local"
SLURM = ROOT / "cluster" / "slurm"
CLUSTER = ("--cluster", str(LOCAL))
READ = SECOND["read"]


class Book(Project):
    """The small book, whose chapters note each time that they are executed."""

    def chapter(self, name: str, *sources: str, **declared) -> None:
        mark = self.marks / name
        note = "import os, time\nfrom pathlib import Path\n"
        note += f"marks = Path({str(self.marks)!r})\n"
        note += f"with open({str(mark)!r}, 'a') as file:\n    file.write('.')"
        cells = {f"step{number}": source for number, source in enumerate(sources)}
        self.write(name, {"note": note} | cells, **declared)

    def executions(self) -> dict[str, int]:
        """How often each chapter was started."""
        marks = {name: self.marks / name for name in NAMES}
        return {name: len(m.read_text()) for name, m in marks.items() if m.exists()}

    def records(self) -> set[str]:
        return {path.stem for path in (self.build / "done").glob("*.json")}


@pytest.fixture
def book(tmp_path):
    book = Book.create(tmp_path)
    book.chapter("01_first", WRITE_RUN, writes=[RUN])
    book.chapter("02_second", READ, reads=[RUN])
    book.chapter("03_apart", "print('apart', os.environ['OMP_NUM_THREADS'])")
    return book


def jobs(book: Book) -> list[Path]:
    """What the local profile keeps of the jobs of the last build."""
    return list((book.build / "cluster" / "jobs").iterdir())


def wait_until(true) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def outputs(book: Book) -> dict:
    """What the chapters printed and wrote, without the times in it."""
    printed = {
        name: [cell.get("outputs") for cell in book.executed(name).cells]
        for name in NAMES
    }
    runs = {k: v for k, v in book.results().items() if k.startswith("runs/")}
    return printed | runs


def test_results_equal_those_of_a_local_build(book):
    output = book.make(*CLUSTER)
    assert ran(output) == set(NAMES)  # lines of progress, from the jobs' logs
    assert "The book is at build/smoke/html/index.html" in output
    assert "the answer is 41" in book.page("02_second")
    assert text_of(book.executed("03_apart"), "step0") == "apart 1\n"
    assert len(jobs(book)) == len(NAMES) + 1  # every chapter and the site
    assert book.leftovers() == [] and book.pending() == set()
    submitted = outputs(book)
    for path in (book.build / "done").iterdir():
        path.unlink()
    assert ran(book.make("--only", *NAMES)) == set(NAMES)
    assert outputs(book) == submitted and f"runs/{RUN_NAME}/run.json" in submitted


def test_failing_job_is_retried_and_named_if_it_fails_again(book):
    book.chapter("01_first", "1 / 0", writes=[RUN])
    kill_job = "import signal\nif (marks / '03_apart').read_text() == '.':\n"
    kill_job += "    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)"
    book.chapter("03_apart", kill_job)
    output = book.make(*CLUSTER, "--only", *NAMES, status=1)
    assert output.partition("The book was not built.")[2].strip().splitlines() == [
        "notebooks/01_first.ipynb, code cell 3 of 3 (id 'step0'), which begins",
        "    1 / 0",
        "ZeroDivisionError: division by zero",
    ]
    assert book.executions() == {"01_first": 2, "03_apart": 2}
    assert book.records() == {"03_apart"} and book.leftovers() == []
    # A job that dies without a report is shown by Snakemake's log and its own errors.
    execute = book.package / "build" / "execute.py"
    source = execute.read_text()
    execute.write_text(source.replace("import argparse", "import lost_on_this_node"))
    output = book.make(*CLUSTER, "--only", "02_second", status=1)
    assert "No module named 'lost_on_this_node'" in output
    assert "Error in rule 01_first" in output


def test_killed_driver_resumes_without_repeating_finished_jobs(book):
    gate = "end = time.monotonic() + 300\n"
    gate += "while not (marks / 'gate {0}').exists():\n"
    gate += "    assert time.monotonic() < end\n    time.sleep(0.05)"
    book.chapter("02_second", gate.format(2), READ, reads=[RUN])
    book.chapter("03_apart", gate.format(3))
    with book.start(*CLUSTER, "--only", *NAMES) as driver:
        wait_until(lambda: len(book.executions()) == 3)
        family = psutil.Process(driver.pid).children(recursive=True)
        for process in (driver, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    assert book.records() == {"01_first"}
    # As on a cluster, the jobs live on. One of them finishes, the other is at work.
    (book.marks / "gate 3").touch()
    wait_until(lambda: book.records() == {"01_first", "03_apart"})

    def left() -> list[Path]:
        return [path for path in jobs(book) if not (path / "status").exists()]

    wait_until(lambda: len(left()) == 1)
    job = psutil.Process(int((left()[0] / "process").read_text()))
    lines = []
    with book.start(*CLUSTER, "--only", *NAMES) as driver:
        for line in driver.stdout:
            lines.append(line)
            if "02_second        cell 1/" in line:
                assert not job.is_running()  # before its successor starts
                (book.marks / "gate 2").touch()
    assert driver.returncode == 0, lines
    assert ran("".join(lines)) == {"02_second"}
    assert book.executions() == {"01_first": 1, "02_second": 2, "03_apart": 1}
    assert text_of(book.executed("02_second"), "step1") == "the answer is 41\n"


# ---- the profiles' programs -------------------------------------------------------


def call(program: Path, *arguments, folder: Path, **environment: str) -> str:
    path = f"{program.parent}:{os.environ['PATH']}"
    result = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_local_jobs_are_submitted_watched_cancelled_and_stopped(tmp_path):
    def submit(line: str) -> str:
        (tmp_path / "script").write_text(f"#!/bin/sh\n{line}\n")
        return call(LOCAL / "job-submit", "script", folder=tmp_path, LOST="lost")

    def status(id: str) -> str:
        return call(LOCAL / "job-status", id, folder=tmp_path)

    ends = {submit('test -z "$LOST"'): "success", submit("exit 3"): "failed"}
    wait_until(lambda: all(status(id) == end for id, end in ends.items()))
    work = [submit("sleep 300 & wait") for _ in range(3)]
    assert [status(id) for id in work] == ["running"] * 3
    call(LOCAL / "job-cancel", *work[:1], *ends, folder=tmp_path)
    wait_until(lambda: status(work[0]) == "failed")
    assert [status(id) for id in work[1:]] == ["running"] * 2
    call(LOCAL / "stop", tmp_path, folder=tmp_path)
    wait_until(lambda: all(status(id) == "failed" for id in work))
    assert {id: status(id) for id in ends} == ends


def test_slurm_jobs_of_this_folder_alone_are_stopped(tmp_path):
    folder, programs = tmp_path / "my build", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    queue = tmp_path / "queue"
    queue.write_text(f"7 {folder}\n8 {folder}-other\n9 {folder}\n")
    for name, text in {
        "squeue": f"cat '{queue}'",
        # a cancelled job is listed until it has ended
        "scancel": f"""echo "$*" >> '{tmp_path}/cancelled'
(sleep 0.5; for id in $*; do sed -i "/^$id /d" '{queue}'; done) > /dev/null 2>&1 &""",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    call(SLURM / "stop", folder, folder=tmp_path, PATH=path)
    assert (tmp_path / "cancelled").read_text() == "7 9\n"
    assert queue.read_text() == f"8 {folder}-other\n"
    call(SLURM / "stop", folder, folder=tmp_path, PATH=path)  # nothing left: no call
    assert (tmp_path / "cancelled").read_text() == "7 9\n"


def profile(folder: Path, stop: str) -> Path:
    folder.mkdir()
    (folder / "config.yaml").touch()
    (folder / "stop").write_text(f"#!/bin/sh\n{stop}\n")
    (folder / "stop").chmod(0o755)
    return folder


def test_each_build_stops_the_jobs_of_a_killed_one_or_is_refused(tmp_path):
    build = tmp_path / "build"
    (build / ".work-01_first").mkdir(parents=True)
    broken = profile(tmp_path / "broken", "echo squeue: no controller >&2; exit 1")
    with cluster.submitting(broken, build):
        pass
    with pytest.raises(BuildError, match="no controller") as caught:
        with only_build(build):
            pass
    note = build / "cluster" / "profile"
    assert str(note) in str(caught.value)
    assert (build / ".work-01_first").exists()  # a job may be at work there
    working = profile(tmp_path / "working", 'echo "$1" >> "$1/stopped"')
    note.write_text(f"{working}\n")
    with only_build(build):
        assert (build / "stopped").read_text() == f"{build}\n"
        assert not (build / ".work-01_first").exists()
        with cluster.submitting(working, build):
            pass
    assert (build / "stopped").read_text() == f"{build}\n" * 2
    with only_build(build):  # nothing was submitted since
        pass
    assert (build / "stopped").read_text() == f"{build}\n" * 2


def test_incomplete_profile_is_refused(tmp_path):
    complete = profile(tmp_path / "profile", "")
    assert cluster.check(complete) == complete
    (complete / "stop").chmod(0o644)
    with pytest.raises(BuildError, match=r"profile is not a cluster profile"):
        cluster.check(complete)
    (complete / "stop").chmod(0o755)
    for config, message in {
        "executor: not-here": r"plugin not-here: .*\[cluster\]",
        "a: b: c": r"config\.yaml is not valid",
    }.items():
        (complete / "config.yaml").write_text(config)
        with pytest.raises(BuildError, match=message):
            cluster.check(complete)
    (complete / "config.yaml").unlink()
    with pytest.raises(BuildError, match=r"config\.yaml.*cluster/slurm"):
        cluster.check(complete)
