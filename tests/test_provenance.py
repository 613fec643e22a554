"""Where results come from: the commit, versions of packages, machine and time."""

import platform
import subprocess
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from caebook import provenance


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty folder that takes the place of the checkout."""
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_commit_is_twelve_digits_and_says_if_files_were_changed(project, monkeypatch):
    git(project, "init")
    (project / "file").write_text("one")
    git(project, "add", "file")
    git(project, "commit", "-m", "one")
    clean = provenance.git_version()
    assert len(clean) == 12 and int(clean, 16) >= 0
    (project / "file").write_text("two")
    assert provenance.git_version() == f"{clean}-dirty"
    (project / "inside").mkdir()  # a folder in somebody else's repository
    monkeypatch.setenv("CAEBOOK_ROOT", str(project / "inside"))
    assert provenance.git_version() is None


def test_there_is_no_commit_outside_a_repository_or_without_git(project, monkeypatch):
    assert provenance.git_version() is None
    (project / ".git").mkdir()
    assert provenance.git_version() is None  # not a repository that git can read
    monkeypatch.setenv("PATH", "")
    assert provenance.git_version() is None


def test_a_hanging_git_is_given_up(project, monkeypatch):
    (project / ".git").mkdir()

    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert provenance.git_version() is None


def test_versions_are_those_of_installed_packages():
    assert provenance.versions(["numpy", "not-installed-anywhere", "filelock"]) == {
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "filelock": metadata.version("filelock"),
    }


def test_the_machine_is_described_without_its_name(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "host-of-somebody")
    assert provenance.machine().split() == [platform.system(), platform.machine()]


def test_now_is_the_time_in_utc_to_the_second():
    time = datetime.fromisoformat(provenance.now())
    assert time.utcoffset() == timedelta(0) and time.microsecond == 0
    assert abs(datetime.now(time.tzinfo) - time) < timedelta(seconds=5)
