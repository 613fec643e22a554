"""Values in a page's running text."""

from __future__ import annotations

import re

from IPython.display import display

_PREFIX = "application/papermill.record/"


def glue(name: str, value: object, spec: str = "") -> None:
    """Store a value under a name, for use in the page's text as ``{glue:text}`name```.

    Writes the same invisible output as ``myst_nb.glue``, without importing Sphinx into
    every notebook.

    Parameters
    ----------
    name
        Name of the value, unique on the page.
    value
        Any value that `format` takes.
    spec
        Format specification, such as ``".1%"`` or ``","``. Per cent are written with a
        space, "84 %", as in the rest of the book.

    Raises
    ------
    TypeError, ValueError
        If `spec` does not fit the value.
    """
    text = re.sub(r"(?<=\d)%", " %", format(value, spec))
    display(
        # In quotes, because MyST-NB would read the digits of "12,544" as a pair.
        {f"{_PREFIX}text/plain": repr(text)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": _PREFIX}},
    )
