"""The static site: the book's pages and the executed chapters, set by Jupyter Book.

The last job of the build's graph: ``python -m caebook.build.site`` in its folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml

from caebook.build.benchmarks_page import benchmarks_page
from caebook.build.chapter_page import page
from caebook.build.chapters import Build, Execution, find_chapters
from caebook.build.launch import launch_branch, launch_settings, repository_address
from caebook.build.status_page import status_page
from caebook.errors import BuildError
from caebook.files import replacing_folder, root, write_text

STRICT = ["-W", "-n", "--keep-going", "-q"]  # warnings are errors; show all of them


def stage(build: Build, folder: Path) -> None:
    """Put the site's sources together: the book's pages and the executed chapters.

    Raises
    ------
    ChapterError
        If a chapter's executed notebook failed or does not match its code.
    """
    cached = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root() / "book", folder, dirs_exist_ok=True, ignore=cached)
    executions = {}
    for chapter in find_chapters():
        executions[chapter.name] = done = Execution.read(chapter, build)
        executed = nbformat.read(build.folder / chapter.executed, as_version=4)
        staged = folder / "notebooks" / f"{chapter.name}.ipynb"
        staged.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page(chapter, executed, done), staged)
    (folder / "status.md").write_text(status_page(build, executions), encoding="utf-8")
    results = benchmarks_page(root() / "benchmarks" / "results")
    (folder / "benchmarks.md").write_text(results, encoding="utf-8")
    config = yaml.safe_load((root() / "_config.yml").read_text(encoding="utf-8"))
    config.update(launch_settings(repository_address(), launch_branch()))
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def make_site(build: Build) -> None:
    """Stage, run Jupyter Book with warnings as errors, and swap the new site in.

    Raises
    ------
    BuildError
        If there is a warning. The earlier site stays as it was.
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
        with replacing_folder(folder / "html") as new:
            os.replace(html, new)
    pages = len(list((folder / "html").rglob("*.html")))
    write_text(folder / "site.json", json.dumps({"pages": pages}) + "\n")


def main() -> int:
    """Make the site of the build whose folder is the current one."""
    build = Build.read(Path.cwd())
    report = build.folder / "failed" / "site.txt"
    report.unlink(missing_ok=True)  # of a first attempt
    try:
        make_site(build)
    except BuildError as error:
        write_text(report, f"{error}\n")
        print(error, file=sys.stderr)  # for Snakemake's log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
