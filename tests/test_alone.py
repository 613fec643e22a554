"""Chapters opened alone: nothing is built, and all they read comes from ``reference/``.

A chapter that reads nothing from others runs so in the smoke book already, which links
into its folder only what it declares to read; so does one that reads full trainings of
what it trains briefly itself. The others run here, each in a process of its own.
"""

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from caebook import data
from caebook.build.chapters import Chapter, find_chapters
from caebook.build.reference import kept_files
from caebook.files import root
from caebook.page import claims


def systems(names: list[str]) -> set[str]:
    """Whose runs these are: ``reference/deep+*`` and ``deep{short}-…`` are of deep."""
    found = (name.removeprefix("reference/") for name in names)
    return {re.split(r"[+{*]", name)[0].rstrip("-") for name in found}


def reads_from_others(chapter: Chapter) -> bool:
    """Whether it reads runs of a system that it does not train itself."""
    declared = chapter.declared
    return not systems(declared["reads"]) <= systems(declared["writes"])


READERS = [chapter for chapter in find_chapters() if reads_from_others(chapter)]
NAMES = [chapter.name for chapter in READERS]

#: What `runs.load` and `runs.find` print of runs in ``reference/``.
USED = r"(?:using|found \d+ finished trainings of) (\S+) \(reference\)"

#: Fast chapters whose verdicts on MNIST differ from those on drawn digits.
ON_MNIST = ("09_uqi", "14_results")


@pytest.fixture
def clone(tmp_path) -> Path:
    """What a fresh clone holds of what a chapter uses."""
    for name in ("book", "notebooks", "reference", "_config.yml"):
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
    lines = run(clone, page, digits)
    used = [line for line in lines if line.startswith(("using ", "found "))]
    of_reference = [line for line in used if "(reference)" in line]
    assert of_reference
    if digits == "glyph-digits":  # MNIST's runs are named as such
        on_mnist = [line for line in of_reference if "-mnist-" in line]
        assert all("the images of this page are drawn" in line for line in on_mnist)


def test_learners_edits_of_chapter_3_run_through(clone):
    """Other filters in one tab, other data, another recipe, and `networks = mine`."""
    lines = run(
        *(clone, "03_shallow", "mnist"),
        *("def keras_shallow(maps=64)", "def keras_shallow(maps=16)"),
        *("def torch_shallow(maps=64)", "def torch_shallow(maps=3)"),
        *("data.load(settings.digits)", "data.load('glyph-letters')"),
        *('settings.recipe("shallow")', "SHORT"),
        *("import lzma\n", "import lzma\nfrom caebook.training import Recipe\n"
          "SHORT = Recipe(epochs=1, train_images=300, loss='mse')\n"),
        *("networks = trained", "networks = mine"),
        *("torch_ladder(49)", "torch_ladder(40)"),
    )  # fmt: skip
    assert "code: (14, 14, 16) channels last" in lines
    used = [line for line in lines if line.startswith("using ")]
    for framework, line in zip(("keras", "torch"), used[:2], strict=True):
        assert f"using shallow+short-{framework}-glyph-letters-s0 (this build)" in line
        assert "1 epoch of 300 images" in line
    # The rest of the page shows the learner's networks: 3 maps of 14 × 14, and 40.
    assert f"{3 * 14 * 14:,} numbers" in "\n".join(lines)
    assert any(line.startswith("40 numbers (yours)") for line in lines)


def test_brief_trainings_win_nothing_in_chapter_14(clone):
    """Not in its tables, figure and answers, however good they are."""
    lines = run(
        *(clone, "14_results", "glyph-digits"),
        *("classical = [", "for p in points:\n    if p['system'] == 'rate':\n"
          "        p['run'] = 'rate+short-torch-mnist-s0'\nclassical = ["),
        *("figure = plots.rate_distortion(", "print(named)\n"
          "figure = plots.rate_distortion("),
    )  # fmt: skip
    naming = [line for line in lines if "rate searched" in line]
    assert len(naming) == 1 and "left out, because trained briefly: rate" in naming[0]
    assert any("wide-kernel, Keras" in line for line in lines)


def test_chapter_14_does_without_trained_networks(clone):
    """It says what is missing, and names no winner among networks."""
    lines = run(
        *(clone, "14_results", "glyph-digits"),
        *('"+short-" not in', '"never" in'),
        *("runs.find(system,", 'runs.find("nothing",'),
    )
    assert not any(line.endswith("network") for line in lines)


def test_reference_holds_what_chapters_read_from_each_other():
    reference = root() / "reference"
    missing = [
        path
        for path in kept_files(find_chapters(), reference)
        if not (reference / path).is_file()
    ]
    assert not missing, "run 'make book' and 'python -m caebook.build.reference'"


def test_reference_judges_every_claim_by_its_criterion_of_today():
    """Else chapter 14, opened alone, would give a verdict by an older tolerance."""
    folder = root() / "reference" / "findings"
    judged = {
        (row["source"], row["claim"], row.get("criterion", ""))
        for path in folder.glob("*_claims.json")
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
    }
    wanted = {(c.source, c.claim, c.criterion) for c in claims.read().values()}
    assert wanted == judged, "run 'make book' and 'python -m caebook.build.reference'"


def test_chapters_of_the_book_read_what_they_declare(smoke_book):
    """What a build has is not silently replaced by ``reference/``."""
    for chapter in find_chapters():
        planned = chapter.planned_reads()
        for path in (smoke_book / "notebooks").glob(f"{chapter.path.stem}*.ipynb"):
            text = path.read_text(encoding="utf-8")
            for name in re.findall(USED, text):
                assert any(
                    fnmatchcase(name, pattern) or name == pattern.partition("+")[0]
                    for pattern in planned
                ), f"{path.name}: {name}"
