"""Show an image that a chapter computed on another page.

MyST-NB can paste images across pages only without their alternative text, and only
those that the other page shows. This directive reads the image from the executed
chapter, with the alternative text from its cell's metadata::

    ```{chapter-figure} notebooks/03_shallow fig-shallow-strip
    A caption.
    ```
"""

import base64
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import nbformat
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.images import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PNG = "image/png"
FOLDER = "_chapter_figures"  # in the staged sources, which a build may write to


def find_image(notebook: nbformat.NotebookNode, name: str) -> tuple[bytes, str | None]:
    """Find the image of a named figure in an executed notebook.

    Parameters
    ----------
    notebook
        An executed notebook.
    name
        Name of the figure: ``mystnb.figure.name`` in the metadata of its cell.

    Returns
    -------
    tuple
        Bytes of the PNG, and the alternative text from the cell's metadata or None.

    Raises
    ------
    LookupError
        If no executed cell holds a figure of this name.
    """
    for cell in notebook.cells:
        settings = cell.metadata.get("mystnb", {})
        if settings.get("figure", {}).get("name") != name:
            continue
        for output in cell.get("outputs", []):
            if image := output.get("data", {}).get(PNG):
                alt = settings.get("image", {}).get("alt")
                return base64.b64decode(image), alt
    raise LookupError(f"no executed cell holds a figure named {name!r}")


class ChapterFigure(SphinxDirective):
    """A figure whose image comes from another page's notebook."""

    required_arguments = 2  # the page, as in _toc.yml, and the figure's name
    has_content = True
    option_spec: ClassVar = {
        "alt": directives.unchanged,
        "name": directives.unchanged,
        "width": directives.length_or_percentage_or_unitless,
    }

    def run(self) -> list[nodes.Node]:
        page, name = self.arguments
        source = Path(self.env.srcdir) / f"{page}.ipynb"
        self.env.note_dependency(str(source))
        try:
            notebook = nbformat.read(source, as_version=4)
            image, alt = find_image(notebook, name)
        except (OSError, LookupError) as error:
            raise self.error(
                f"{source.name}: {error}; change the name here or in the chapter"
            ) from error
        target = Path(self.env.srcdir) / FOLDER
        target.mkdir(exist_ok=True)
        digest = hashlib.sha256(image).hexdigest()
        (target / f"{digest}.png").write_bytes(image)

        options = dict(self.options)
        options.setdefault("alt", alt or "")
        figure = Figure(
            self.name,
            [f"/{FOLDER}/{digest}.png"],
            options,
            self.content,
            self.lineno,
            self.content_offset,
            self.block_text,
            self.state,
            self.state_machine,
        )
        return figure.run()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive with Sphinx."""
    app.add_directive("chapter-figure", ChapterFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
