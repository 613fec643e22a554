"""The page of a chapter: prose from the checkout, outputs from the executed notebook.

A chapter is stored without outputs. Its cells are matched with the executed ones by id,
so mending prose, tags or captions executes nothing.
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
    notebook.cells.insert(1, measured)
    return notebook


def measured_line(execution: Execution) -> str:
    """Time and memory of a chapter, for the top of its page."""
    seconds, memory = execution.seconds, execution.peak_memory_mb / 1000
    minutes = f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.0f} s"
    return (
        f"*Computed in {minutes} on one core, with at most {memory:.1f} GB of memory.*"
    )
