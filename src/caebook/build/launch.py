"""Links from the site to its repository, Binder and Colab, where they lead somewhere.

The sources do not know where they will be published. The build asks the environment and
git for an address; without one the site has no such links.
"""

from __future__ import annotations

import os
import re
import subprocess

import nbformat

from caebook.build.chapters import Chapter, find_chapters
from caebook.files import root, write_text

INSTALL_CELL = "install"  # id of the cell that `add_install_cells` adds

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


def add_install_cells(address: str) -> None:
    """Give each chapter a cell that installs the package where it is missing.

    The branch that Colab opens is made with this. A chapter that has the cell already
    is left as it is.

    Parameters
    ----------
    address : the repository's
    """
    for chapter in find_chapters():
        if INSTALL_CELL not in {cell.id for cell in chapter.notebook.cells}:
            _add_install_cell(chapter, address)


def _add_install_cell(chapter: Chapter, address: str) -> None:
    cell = nbformat.v4.new_code_cell(
        "import importlib.util\n\n"
        'if importlib.util.find_spec("caebook") is None:\n'
        "    # TensorFlow, Keras and PyTorch are there already: leave them alone\n"
        f"    %pip install --quiet --no-deps git+{address}@main\n"
        "    %pip install --quiet filelock imagecodecs platformdirs pooch sewar\n"
        "    %pip install --quiet onnx onnxruntime onnxscript tf2onnx"
    )
    cell.id = INSTALL_CELL
    chapter.notebook.cells.insert(1, cell)
    write_text(chapter.path, nbformat.writes(chapter.notebook) + "\n")
