"""Where results come from: the commit of the checkout."""

import subprocess

import pytest

from caebook.provenance import git_version


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder, which the package uses as the checkout."""
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    return tmp_path


def test_git_version_outside_a_repository(project):
    assert git_version() is None


def test_git_version_of_a_checkout(project, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=project, check=True, capture_output=True)

    git("init")
    (project / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    clean = git_version()
    assert len(clean) == 12 and int(clean, 16) >= 0
    (project / "file").write_text("two")
    assert git_version() == f"{clean}-dirty"
    # a folder in someone else's repository is no checkout of this project
    (project / "inside").mkdir()
    monkeypatch.setenv("CAEBOOK_ROOT", str(project / "inside"))
    assert git_version() is None


def test_git_version_without_git(project, monkeypatch):
    (project / ".git").mkdir()
    assert git_version() is None  # no repository after all
    monkeypatch.setenv("PATH", "")
    assert git_version() is None
