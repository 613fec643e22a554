"""Chapters opened alone: nothing is built, and all they read comes from ``reference/``.

A chapter that reads nothing from others runs so in the smoke book already, which links
into its folder only what it declares to read. The others run here, each in a process of
its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caebook import data
from caebook.build.chapters import find_chapters
from caebook.build.reference import kept_files
from caebook.files import root

READERS = [chapter for chapter in find_chapters() if chapter.declared["reads"]]
NAMES = [chapter.name for chapter in READERS]

#: Fast chapters whose verdicts on MNIST differ from those on drawn digits.
ON_MNIST = ("09_uqi", "11_results")


@pytest.fixture
def clone(tmp_path) -> Path:
    """What a fresh clone holds of what a chapter uses."""
    for name in ("notebooks", "reference", "_config.yml"):
        (tmp_path / name).symlink_to(root() / name)
    return tmp_path


def run(clone: Path, page: str, digits: str, *edits: str) -> list[str]:
    """Run a chapter in a process of its own; return the lines that it prints."""
    environment = {
        **os.environ,
        "CAEBOOK_ROOT": str(clone),
        "CAEBOOK_PROFILE": "smoke",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script, notebook = Path(__file__).with_name("alone.py"), f"notebooks/{page}.ipynb"
    result = subprocess.run(
        [sys.executable, script, notebook, digits, *edits],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("page", "digits"),
    [(page, "glyph-digits") for page in NAMES] + [(page, "mnist") for page in ON_MNIST],
)
def test_chapter_runs_alone(clone, page, digits):
    if digits == "mnist" and data.locate("mnist") is None:
        pytest.skip("the real MNIST is not here")
    used = [line for line in run(clone, page, digits) if line.startswith("using ")]
    of_reference = [line for line in used if "(reference)" in line]
    assert of_reference
    if digits == "glyph-digits":  # MNIST's runs are named as such
        on_mnist = [line for line in of_reference if "-mnist-" in line]
        assert all("the images of this page are drawn" in line for line in on_mnist)


def test_learners_edits_of_chapter_3_run_through(clone):
    """Other filters in one tab, another data set in its cell, another recipe."""
    lines = run(
        *(clone, "03_shallow", "mnist"),
        *("layers.MaxPooling2D(), conv(64)]", "layers.MaxPooling2D(), conv(16)]"),
        *("data.load(settings.digits)", "data.load('glyph-letters')"),
        *('settings.recipe("shallow")', "SHORT"),
        *("import bz2\n", "import bz2\nfrom caebook.training import Recipe\n"
          "SHORT = Recipe(epochs=1, train_images=300, learning_rate=2e-3)\n"),
    )  # fmt: skip
    assert sum("change `channels`" in line for line in lines) == 1
    used = [line for line in lines if line.startswith("using ")]
    assert len(used) == 2
    for framework, line in zip(("keras", "torch"), used, strict=True):
        assert f"using shallow+short-{framework}-glyph-letters-s0 (this build)" in line
        assert "1 epoch of 300 images" in line


def test_reference_holds_what_chapters_read_from_each_other():
    reference = root() / "reference"
    missing = [
        path
        for path in kept_files(find_chapters(), reference)
        if not (reference / path).is_file()
    ]
    assert not missing, "run 'make book' and 'python -m caebook.build.reference'"


def test_chapters_of_the_book_read_what_they_declare(smoke_book):
    """What a build has is not silently replaced by ``reference/``."""
    for path in (smoke_book / "notebooks").glob("*.ipynb"):
        assert "(reference)" not in path.read_text(encoding="utf-8"), path.name
