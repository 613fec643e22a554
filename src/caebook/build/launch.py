"""Links from the site to its repository, Binder and Colab, where they lead somewhere.

The sources do not know where they will be published. The build asks the environment and
git for an address; without one the site has no such links.

``python -m caebook.build.launch`` makes the chapters of the branch that Colab opens: it
gives each a first cell that brings the book to a machine that does not have it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

import nbformat

from caebook.build.chapters import find_chapters
from caebook.errors import BuildError
from caebook.files import root, write_text

INSTALL_CELL = "install"  # id of the cell that `add_install_cells` adds

#: What Colab lacks and numbers depend on: the versions of the lock are installed.
PINNED = (
    "imagecodecs", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "sewar", "tf2onnx",
)  # fmt: skip
#: What it may lack besides: any recent version will do.
HELPERS = ("filelock", "platformdirs", "pooch", "pydantic>=2.12", "pywavelets")

_GITHUB = re.compile(
    r"(?:https://(?:[^@/]+@)?|git@|ssh://git@)github\.com[:/]([\w.-]+/[\w.-]+?)"
    r"(?:\.git)?/?"
)


def repository_address() -> str | None:
    """Public address of the repository.

    From ``$GITHUB_REPOSITORY``, or the git remote ``origin`` if it is on GitHub.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{name}"
    command = ["git", "-C", str(root()), "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
    match = _GITHUB.fullmatch(remote)
    return f"https://github.com/{match[1]}" if match else None


def launch_branch() -> str | None:
    """The branch whose chapters install the package: ``$CAEBOOK_LAUNCH_BRANCH``."""
    return os.environ.get("CAEBOOK_LAUNCH_BRANCH") or None


def launch_settings(address: str | None, branch: str | None) -> dict:
    """Jupyter Book's settings for links to the repository, Binder and Colab.

    Parameters
    ----------
    address : the repository's; without one there are no links, rather than dead ones
    branch : the launch branch. Colab has nothing of ours installed, so it is offered
        only where there is one; Binder then opens it too, and ``main`` otherwise.
    """
    if not address:
        return {}
    buttons = {
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    }
    if branch:
        buttons["colab_url"] = "https://colab.research.google.com"
    return {
        "repository": {"url": address, "branch": branch or "main"},
        "launch_buttons": buttons,
    }


def add_install_cells(address: str, commit: str) -> None:
    """Give each chapter a cell that brings the book where it is missing.

    A chapter that has the cell already is left as it is.

    Parameters
    ----------
    address : the repository's, for git
    commit : full hash of the commit that the chapters are of
    """
    for chapter in find_chapters():
        if INSTALL_CELL not in {cell.id for cell in chapter.notebook.cells}:
            cell = nbformat.v4.new_code_cell(install_cell(address, commit))
            cell.id = INSTALL_CELL
            chapter.notebook.cells.insert(1, cell)
            write_text(chapter.path, nbformat.writes(chapter.notebook) + "\n")


def install_cell(address: str, commit: str) -> str:
    """Source of the cell: it gets the repository and installs the package from it.

    ``reference/`` comes with it, which holds the runs that the chapters load.
    TensorFlow, PyTorch and NumPy stay as Colab has them.
    """
    helpers = " ".join(f'"{name}"' for name in HELPERS)
    return f"""\
# Colab has TensorFlow and PyTorch, but neither this book's package nor its trained
# networks. This cell gets both. It does nothing where the package is installed.
import importlib.util
import os
from pathlib import Path

book = Path("caebook-{commit[:7]}").absolute()
if importlib.util.find_spec("caebook") is None:
    !git init --quiet "{{book}}"
    !git -C "{{book}}" fetch --quiet --depth 1 {address} {commit}
    !git -C "{{book}}" checkout --quiet FETCH_HEAD
    # The versions that the numbers depend on; --no-deps leaves all else as it is
    names = "{" ".join(PINNED)}".split()
    lock = (book / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lock if line.partition("==")[0] in names]
    (book / "colab.txt").write_text("\\n".join(pinned))
    %pip install --quiet {helpers}
    %pip install --quiet --no-deps -r "{{book}}/colab.txt" "{{book}}"
if book.exists():
    os.environ["CAEBOOK_ROOT"] = str(book)"""


def _commit() -> str:
    """Full hash of the checkout's commit.

    Raises
    ------
    BuildError
        If this is no git checkout.
    """
    command = ["git", "-C", str(root()), "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{root()}: git does not know its commit: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Add the install cells to the chapters of this checkout."""
    parser = argparse.ArgumentParser(
        prog="python -m caebook.build.launch",
        description="Give each chapter a first cell that brings the book to Colab, at "
        "the commit that is checked out. Commit the result on the launch branch.",
    )
    parser.add_argument(
        "--address", default=repository_address(),
        help="the repository's, for git; default: GitHub's environment, or origin",
    )  # fmt: skip
    address = parser.parse_args(arguments).address
    try:
        if address is None:
            raise BuildError("the repository has no public address: give --address")
        add_install_cells(address, _commit())
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
