"""The whole book, executed under the smoke profile: what it recorded, what it shows."""

import json
import math
import re

import nbformat
import pytest

from caebook import runs
from caebook.build.chapters import Build, Chapter, find_chapters, tags
from caebook.files import root

NOTEBOOKS = find_chapters()
CHAPTERS = [chapter for chapter in NOTEBOOKS if "grid" not in chapter.declared]
EVALUATION = [chapter for chapter in CHAPTERS if chapter.name >= "09"]
SOURCES = sorted((root() / "notebooks").rglob("*.ipynb"))
BINDER_MEMORY_MB = 2_000

SYSTEMS = ("shallow", "deep", "dcnn", "transposed", "wide-kernel", "code16")
# every network recorded, and on what
RECORDED = [*((system, "digits") for system in SYSTEMS), ("code16", "letters")]


@pytest.fixture(scope="session")
def stamps(smoke_book):
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(smoke_book.glob("done/*.json"))
    }


@pytest.fixture(scope="session")
def recorded(smoke_book):
    return {run.name: run for run in runs.list_runs(smoke_book / "runs")}


def prose(chapter: Chapter) -> str:
    return "\n\n".join(
        cell.source for cell in chapter.notebook.cells if cell.cell_type == "markdown"
    )


def by_name(chapter: Chapter) -> str:
    return chapter.name


def executions(chapter: Chapter, smoke_book) -> list[Chapter]:
    return chapter.jobs(Build.read(smoke_book))


# What was executed


def test_every_chapter_was_executed(stamps, smoke_book):
    jobs = [job.name for c in NOTEBOOKS for job in executions(c, smoke_book)]
    assert sorted(stamps) == sorted(jobs)
    assert len(CHAPTERS) >= 11 and len(jobs) > len(NOTEBOOKS) > len(CHAPTERS)


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_executed_copy_is_whole_and_current(chapter, smoke_book):
    for job in executions(chapter, smoke_book):
        path = smoke_book / "notebooks" / f"{job.name}.ipynb"
        ran = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
        for cell in chapter.code_cells:
            assert ran[cell.id].source == cell.source
            assert ran[cell.id].execution_count
            assert all(o.output_type != "error" for o in ran[cell.id].outputs)


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_chapter_fits_in_binders_memory(chapter, stamps, smoke_book):
    for job in executions(chapter, smoke_book):
        assert 50 < stamps[job.name]["peak_memory_mb"] < BINDER_MEMORY_MB


@pytest.mark.parametrize("framework", ["keras", "torch"])
@pytest.mark.parametrize(("system", "kind"), RECORDED)
def test_network_learns(system, kind, framework, recorded, smoke_book):
    dataset = getattr(Build.read(smoke_book), kind)
    record = recorded[f"{system}+short-{framework}-{dataset}-s0"].record
    assert (record.profile, record.kind) == ("smoke", "autoencoder")
    history, test = record.history, record.test
    assert history.val_loss[-1] < history.val_loss[0]
    assert history.loss[-1] < history.loss[0]
    # An untrained network answers about 0.5 everywhere: a loss of ln 2.
    assert record.recipe.loss != "bce" or test.bce < math.log(2)
    assert 0 < test.mse < 0.25 and -1 <= test.uqi <= 1


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_classifier_learns(framework, recorded, stamps):
    digits = next(iter(stamps.values()))["digits"]
    record = recorded[f"classifier+short-{framework}-{digits}-s0"].record
    assert record.kind == "classifier"
    assert record.test.accuracy > 0.2  # guessing gives 0.1
    assert record.history.loss[-1] < record.history.loss[0]


def test_every_run_is_declared_by_a_chapter(recorded, stamps, smoke_book):
    build = Build.read(smoke_book)
    ours = {build.digits, build.letters}  # a build on other data may have been before
    found = {name for name, run in recorded.items() if run.record.dataset in ours}
    declared = {name for s in stamps.values() for name in s["writes"]}
    findings = {name for name in declared if name.startswith("findings/")}
    assert found == declared - findings
    assert {f"findings/{path.stem}" for path in smoke_book.glob("runs/findings/*")} == (
        findings
    )


# What the sources look like


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_stored_without_outputs(chapter):
    for cell in chapter.code_cells:
        assert not cell.outputs and cell.execution_count is None, cell.id
    assert chapter.notebook.metadata.keys() == {
        "caebook",
        "kernelspec",
        "language_info",
    }


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_cells_are_short_and_fit_the_page(chapter):
    for cell in chapter.code_cells:
        lines = cell.source.splitlines()
        assert max(map(len, lines), default=0) <= 88, cell.id
        if not {"solution", "hide-input"} & set(tags(cell)):
            assert len(lines) <= 32, f"{cell.id}: {len(lines)} lines"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=by_name)
def test_frame_of_a_chapter(chapter):
    text = prose(chapter)
    for part in ("You will learn", "## Take-away", "## Exercises", "## Read on"):
        assert text.count(part) == 1, part
    assert text.index("## Take-away") < text.index("## Exercises")
    assert "{cite" in text.split("## Read on")[1]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=by_name)
def test_every_exercise_has_a_worked_solution(chapter):
    cells = chapter.notebook.cells
    exercises = [
        number
        for number, cell in enumerate(cells)
        if cell.cell_type == "markdown" and cell.source.startswith("### Exercise")
    ]
    assert 3 <= len(exercises) <= 5
    for number in exercises:
        assert {"solution", "hide-cell"} <= set(tags(cells[number + 1]))
        assert (
            "print(" in cells[number + 1].source
            or "page." in cells[number + 1].source
            or "plots." in cells[number + 1].source
        )


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_frameworks_stand_side_by_side(chapter):
    """Each run of tab cells has both frameworks; so has every page that trains."""
    pairs, current = [], []
    for cell in [*chapter.notebook.cells, nbformat.v4.new_markdown_cell("")]:
        tab = [tag for tag in tags(cell) if tag.startswith("tab-")]
        if tab:
            current += tab
        elif current:
            pairs.append(current)
            current = []
    assert pairs or chapter in EVALUATION
    for pair in pairs:
        assert set(pair) == {"tab-keras", "tab-torch"}, pair


@pytest.mark.parametrize("chapter", EVALUATION, ids=by_name)
def test_evaluation_needs_no_framework(chapter):
    code = "\n".join(cell.source for cell in chapter.code_cells)
    imported = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", code, re.M)
    frameworks = {"keras", "tensorflow", "torch", "caebook.training"}
    assert imported and not frameworks & {
        ".".join(name.split(".")[:n]) for name in imported for n in (1, 2)
    }
    assert not re.search(r"from caebook import[^\n]*\btraining\b", code)


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_every_figure_has_caption_and_alternative_text(chapter):
    figures = 0
    for cell in chapter.code_cells:
        shows = re.search(r"^(plots\.\w+\(|figure$)", cell.source, re.M)
        if not shows:
            continue
        about = cell.metadata.get("mystnb", {})
        assert len(about.get("image", {}).get("alt", "")) > 20, cell.id
        if "solution" not in tags(cell):
            assert about["figure"]["caption"] and about["figure"]["name"], cell.id
            figures += 1
    assert figures >= (1 if "grid" in chapter.declared else 2)


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_no_decimal_number_in_prose_is_typed_in(chapter):
    """Decimals are glued from outputs, or stand beside the source that claims them."""
    for paragraph in prose(chapter).split("\n\n"):
        plain = re.sub(r"`[^`]*`|\$[^$]*\$", "", paragraph)
        typed = re.findall(r"\d+\.\d+", plain)
        assert not typed or "{cite" in paragraph, f"{typed} in: {paragraph[:90]}"


@pytest.mark.parametrize("chapter", NOTEBOOKS, ids=by_name)
def test_glued_values_are_computed_on_the_page(chapter):
    used = set(re.findall(r"\{glue:text\}`([^`]+)`", prose(chapter)))
    code = "\n".join(cell.source for cell in chapter.code_cells)
    computed = re.findall(r"page\.glue\(\s*f?[\"']([^\"']+)[\"']", code)
    patterns = [re.escape(n).replace(r"\{", "{") for n in computed]
    patterns = [re.sub(r"\{[^}]*\}", r"\\w+", p.replace(r"\}", "}")) for p in patterns]
    for name in used:
        assert any(re.fullmatch(p, name) for p in patterns), name


def test_sources_are_all_chapters():
    assert {path.stem for path in SOURCES} == {chapter.name for chapter in NOTEBOOKS}
