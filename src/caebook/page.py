"""Puts computed values on a page: in running text, and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from numbers import Integral, Number

from IPython.display import display

_PREFIX = "application/papermill.record/"


def glue(name: str, value: object, spec: str = "") -> None:
    """Store a value under `name`, formatted by `spec`, for use in the page's prose.

    The page then says ``{glue:text}`name```. This writes the same invisible output as
    ``myst_nb.glue`` does, without importing Sphinx into every notebook.
    """
    text = format(value, spec)
    display(
        {f"{_PREFIX}text/plain": text, f"{_PREFIX}text/html": escape(text)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": _PREFIX}},
    )


class Table:
    """Rows of a table, shown as HTML or plain text; numbers are set to the right."""

    def __init__(self, rows: Iterable[Mapping[str, object]]) -> None:
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row))

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>" + "".join(_cell(row.get(name)) for name in self.columns) + "</tr>"
            for row in self.rows
        )
        return (
            '<div class="pst-scrollable-table-container"><table class="table">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        cells = [self.columns] + [
            [_text(row.get(name)) for name in self.columns] for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        return "\n".join(lines)


def table(rows: Iterable[Mapping[str, object]]) -> Table:
    """A table from dictionaries; the first row's keys (and later new ones) head it."""
    return Table(rows)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, Number):
        return str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    return f"{value:.4g}"


def _cell(value: object) -> str:
    right = isinstance(value, Number) and not isinstance(value, bool)
    style = ' class="text-right"' if right else ""
    return f"<td{style}>{escape(_text(value))}</td>"
