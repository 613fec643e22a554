"""The page of a chapter: prose from the checkout, outputs from the executed notebook.

A chapter is stored without outputs. Its cells are matched with the executed ones by id,
so mending prose, tags or captions executes nothing. On the page, cells whose code is
folded and that show nothing become one with the folded cell after them, and each fold
says what it holds.
"""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode

from caebook.build.chapters import Chapter, Execution, tags
from caebook.errors import ChapterError


def publishable(chapter: Chapter, executed: NotebookNode) -> dict[str, NotebookNode]:
    """The executed code cells by id, if every one ran, none failed and none changed.

    Raises
    ------
    ChapterError
        Otherwise: a page is published whole or not at all.
    """
    ran = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    for cell in chapter.code_cells:
        done = ran.get(cell.id)
        where = f"notebooks/{chapter.name}.ipynb, cell {cell.id!r}"
        if done is None or done.source != cell.source:
            raise ChapterError(f"{where}: differs from the executed copy; build again")
        if done.execution_count is None and cell.source.strip():
            raise ChapterError(f"{where}: was not executed")
        if any(output.output_type == "error" for output in done.outputs):
            raise ChapterError(f"{where}: ended in an error")
    return ran


def page(
    chapter: Chapter, executed: NotebookNode, execution: Execution
) -> NotebookNode:
    """The chapter with the executed outputs, and a line on what they took to compute.

    Raises
    ------
    ChapterError
        If it is not `publishable`.
    """
    ran = publishable(chapter, executed)
    notebook = nbformat.from_dict(chapter.notebook)
    notebook.metadata.pop("caebook")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = ran[cell.id].outputs
            cell.execution_count = ran[cell.id].execution_count
            if "parameters" in tags(cell):
                cell.metadata.tags = [*tags(cell), "remove-cell"]
    measured = nbformat.v4.new_markdown_cell(measured_line(execution))
    measured.id = "measured"
    notebook.cells = folded(notebook.cells)
    notebook.cells.insert(1, measured)
    return notebook


#: What a fold holds, by the tag that makes it; a notebook's own words go before these.
FOLDS = {"hide-cell": "the code and what comes out", "hide-output": "what comes out"}


def folded(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of a page, with as few folds as possible, and these labelled.

    Cells tagged ``hide-input`` that show nothing are put before the next such cell if
    they stand right above it. A cell whose code and output are both hidden gets one
    fold in place of two.
    """
    page: list[NotebookNode] = []
    for cell in cells:
        above = page[-1] if page else None
        if above and _hides_code(above) and _hides_code(cell) and not _shows(above):
            page.pop()
            cell.source = f"{above.source}\n\n\n{cell.source}"
            cell.outputs = [*above.outputs, *cell.outputs]
        if {"hide-input", "hide-output"} <= set(tags(cell)):
            rest = [t for t in tags(cell) if t not in ("hide-input", "hide-output")]
            cell.metadata.tags = [*rest, "hide-cell"]
        for tag in FOLDS.keys() & set(tags(cell)):
            words = cell.metadata.setdefault("mystnb", NotebookNode())
            words.setdefault("code_prompt_show", f"Show {FOLDS[tag]}")
            words.setdefault("code_prompt_hide", f"Hide {FOLDS[tag]}")
        page.append(cell)
    return page


def _hides_code(cell: NotebookNode) -> bool:
    """Whether the code alone is hidden, outside tabs."""
    others = ("hide-output", "hide-cell", "remove-cell", "tab-keras", "tab-torch")
    found = tags(cell)
    return "hide-input" in found and not set(found) & set(others)


def _shows(cell: NotebookNode) -> bool:
    """Whether a cell has an output that readers see; glued values are not."""
    return any("scrapbook" not in output.get("metadata", {}) for output in cell.outputs)


def measured_line(execution: Execution) -> str:
    """Time and memory of a chapter, for the top of its page."""
    seconds, memory = execution.seconds, execution.peak_memory_mb / 1000
    minutes = f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.0f} s"
    return (
        f"*Computed in {minutes} on one core, with at most {memory:.1f} GB of memory.*"
    )
