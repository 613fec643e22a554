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

from caebook.chapters import Build, BuildError, find_chapters, page, write_atomically
from caebook.profiles import root


def stage(build: Build, folder: Path) -> None:
    """Put the site's sources together: the book's pages and the executed chapters.

    Raises
    ------
    ChapterError
        If a chapter's executed copy is missing, failed, or does not match its code.
    """
    shutil.copytree(root() / "book", folder, dirs_exist_ok=True)
    stamps = []
    for chapter in find_chapters():
        stamp = json.loads((build.folder / "done" / f"{chapter.name}.json").read_text())
        executed = nbformat.read(
            build.folder / "notebooks" / chapter.path.name, as_version=4
        )
        staged = folder / "notebooks" / chapter.path.name
        staged.parent.mkdir(exist_ok=True)
        nbformat.write(page(chapter, executed, stamp), staged)
        stamps.append(stamp)
    (folder / "status.md").write_text(status_page(build, stamps), encoding="utf-8")
    config = yaml.safe_load((root() / "_config.yml").read_text(encoding="utf-8"))
    address = repository_address()
    if address:
        config["repository"] = {"url": address, "branch": "main"}
        config["launch_buttons"] = {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        }
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


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


def status_page(build: Build, stamps: list[dict]) -> str:
    """Markdown: how long each chapter took, how much memory, and with what versions."""
    rows = [
        f"| [{s['chapter']}](notebooks/{s['chapter']}.ipynb) | {s['seconds']:.0f} | "
        f"{s['peak_memory_mb']:,} | {s['created'][:10]} |"
        for s in stamps
    ]
    packages = [
        "tensorflow-cpu", "tensorflow", "keras", "torch", "numpy", "onnx",
        "onnxruntime", "scikit-image", "sewar", "papermill", "jupyter-book",
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
            "| chapter | seconds, one core | peak memory, MB | computed |",
            "|:--|--:|--:|:--|",
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
            [script, "build", source, "--path-output", output]
            + ["-W", "-n", "--keep-going", "-q"],
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        html = output / "_build" / "html"
        if result.returncode or not (html / "index.html").is_file():
            log = (result.stdout + result.stderr).replace(f"{source}/", "")
            raise BuildError(f"the site does not build cleanly:\n{log[-6000:]}")
        aside = Path(temporary) / "old"
        if (folder / "html").exists():
            os.replace(folder / "html", aside)
        os.replace(html, folder / "html")
    pages = len(list((folder / "html").rglob("*.html")))
    write_atomically(folder / "site.json", json.dumps({"pages": pages}) + "\n")
