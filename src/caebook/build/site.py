"""Makes the static site from the book's pages and the executed chapters."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import nbformat
import yaml

from caebook.build.chapters import Build, find_chapters, page
from caebook.errors import BuildError
from caebook.files import root, write_text

STRICT = ["-W", "-n", "--keep-going", "-q"]  # warnings are errors; show all of them


def stage(build: Build, folder: Path) -> None:
    """Put the site's sources together: the book's pages and the executed chapters.

    Raises
    ------
    ChapterError
        If a chapter's executed copy is missing, failed, or does not match its code.
    """
    cached = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root() / "book", folder, dirs_exist_ok=True, ignore=cached)
    stamps = {}
    for chapter in find_chapters():
        names = [job.name for job in chapter.jobs(build)]
        done = [build.folder / "done" / f"{name}.json" for name in names]
        stamps[chapter.page] = [json.loads(path.read_text()) for path in done]
        # of an experiment's executions the first is shown
        first = build.folder / "notebooks" / f"{names[0]}.ipynb"
        executed = nbformat.read(first, as_version=4)
        staged = folder / "notebooks" / f"{chapter.page}.ipynb"
        staged.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page(chapter, executed, stamps[chapter.page][0]), staged)
    (folder / "status.md").write_text(status_page(build, stamps), encoding="utf-8")
    config = yaml.safe_load((root() / "_config.yml").read_text(encoding="utf-8"))
    config.update(launch_settings(repository_address()))
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def launch_settings(address: str | None) -> dict:
    """Jupyter Book's settings for links to the repository, Binder and Colab.

    Empty without an address: no link is better than a dead one. Colab has nothing of
    ours installed, so it is offered only for a branch whose chapters install it
    (``$CAEBOOK_LAUNCH_BRANCH``, made by `add_install_cells`).
    """
    if not address:
        return {}
    launch_branch = os.environ.get("CAEBOOK_LAUNCH_BRANCH")
    buttons = {
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    }
    if launch_branch:
        buttons["colab_url"] = "https://colab.research.google.com"
    return {
        "repository": {"url": address, "branch": launch_branch or "main"},
        "launch_buttons": buttons,
    }


def add_install_cells(address: str) -> None:
    """Give each chapter a cell that installs the package where it is missing.

    The published branch that Colab opens is made with this; in the sources there is no
    such cell, because they do not know where they will be published.
    """
    for chapter in find_chapters():
        cell = nbformat.v4.new_code_cell(
            "import importlib.util\n\n"
            'if importlib.util.find_spec("caebook") is None:\n'
            "    # TensorFlow, Keras and PyTorch are there already: leave them alone\n"
            f"    %pip install --quiet --no-deps git+{address}@main\n"
            "    %pip install --quiet filelock imagecodecs platformdirs sewar\n"
            "    %pip install --quiet onnx onnxruntime onnxscript tf2onnx"
        )
        cell.id = "install"
        chapter.notebook.cells.insert(1, cell)
        write_text(chapter.path, nbformat.writes(chapter.notebook) + "\n")


def repository_address() -> str | None:
    """Public address of the repository, from CI's environment or the git remote."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{name}"
    command = ["git", "-C", str(root()), "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
    match = re.fullmatch(
        r"(?:https://(?:[^@/]+@)?|git@|ssh://git@)github\.com[:/]([\w.-]+/[\w.-]+?)"
        r"(?:\.git)?/?",
        remote,
    )
    return f"https://github.com/{match[1]}" if match else None


def status_page(build: Build, stamps: dict[str, list[dict]]) -> str:
    """Markdown: how long each chapter took, how much memory, and with what versions.

    Parameters
    ----------
    stamps : for each page below ``notebooks/`` the stamps of its executions
    """
    rows = [
        f"| [{name}](notebooks/{name}.ipynb) | {len(jobs)} | "
        f"{sum(job['seconds'] for job in jobs):.0f} | "
        f"{max(job['peak_memory_mb'] for job in jobs):,} | "
        f"{max(job['created'] for job in jobs)[:10]} |"
        for name, jobs in stamps.items()
    ]
    packages = [
        "tensorflow-cpu", "tensorflow", "keras", "torch", "numpy", "onnx",
        "onnxruntime", "scikit-image", "sewar", "pillow", "imagecodecs", "papermill",
        "jupyter-book",
    ]  # fmt: skip
    versions = []
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"| {package} | {metadata.version(package)} |")
    python = ".".join(map(str, sys.version_info[:3]))
    return "\n".join(
        [
            "# Status of this build",
            "",
            "Every page of this copy was computed as recorded here.",
            "",
            f"Profile `{build.profile}`, digits `{build.digits}`, letters "
            f"`{build.letters}`, seed {build.seed}.",
            "",
            "| chapter | executions | seconds, one core | peak memory, MB | computed |",
            "|:--|--:|--:|--:|:--|",
            *rows,
            "",
            "| package | version |",
            "|:--|:--|",
            f"| python | {python} |",
            *versions,
            "",
        ]
    )


def make_site(build: Build) -> None:
    """Stage, run Jupyter Book with warnings as errors, and swap the new site in.

    Raises
    ------
    BuildError
        If anything warns. The earlier site stays as it was.
    """
    folder = build.folder
    print("site             building the pages", flush=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".site-") as temporary:
        source, output = Path(temporary) / "source", Path(temporary) / "output"
        stage(build, source)
        script = Path(sys.executable).with_name("jupyter-book")
        result = subprocess.run(
            [script, "build", source, "--path-output", output, *STRICT],
            capture_output=True,
            text=True,
        )
        html = output / "_build" / "html"
        if result.returncode or not (html / "index.html").is_file():
            log = (result.stdout + result.stderr).replace(f"{source}/", "")
            log = re.sub(r"\x1b\[[0-9;]*m", "", log)  # it colours even when told not to
            raise BuildError(f"the site does not build cleanly:\n{log[-6000:]}")
        aside = Path(temporary) / "old"
        if (folder / "html").exists():
            os.replace(folder / "html", aside)
        os.replace(html, folder / "html")
    pages = len(list((folder / "html").rglob("*.html")))
    write_text(folder / "site.json", json.dumps({"pages": pages}) + "\n")
