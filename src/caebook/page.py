"""Puts computed values on a page: in running text, and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from numbers import Integral, Number

from IPython.display import display

_PREFIX = "application/papermill.record/"
RIGHT = ' class="text-right"'


def glue(name: str, value: object, spec: str = "") -> None:
    """Store a value under `name`, formatted by `spec`, for use in the page's prose.

    The page then says ``{glue:text}`name```. This writes the same invisible output as
    ``myst_nb.glue`` does, without importing Sphinx into every notebook.
    """
    text = format(value, spec)
    display(
        # The quotes keep "12,544" a text: MyST-NB reads the bare digits as a pair.
        {f"{_PREFIX}text/plain": repr(text)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": _PREFIX}},
    )


class Table:
    """Rows of a table, shown as HTML or plain text.

    A column that holds nothing but numbers is set to the right.
    """

    def __init__(self, rows: Iterable[Mapping[str, object]]) -> None:
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row))

    def _repr_html_(self) -> str:
        names = map(str, self.columns)
        head = self._html_row('th scope="col"', names)
        body = "".join(self._html_row("td", row) for row in self._body())
        return (
            '<div class="pst-scrollable-table-container"><table class="table">'
            f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        cells = [[str(name) for name in self.columns], *self._body()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        align = [str.rjust if right else str.ljust for right in self._to_the_right()]
        return "\n".join(
            "  ".join(
                set_in(text, width)
                for set_in, text, width in zip(align, row, widths, strict=True)
            ).rstrip()
            for row in cells
        )

    def _body(self) -> list[list[str]]:
        return [[_text(row.get(name)) for name in self.columns] for row in self.rows]

    def _to_the_right(self) -> list[bool]:
        columns = [[row.get(name) for row in self.rows] for name in self.columns]
        return [
            any(_is_number(value) for value in column)
            and all(_is_number(value) or value is None for value in column)
            for column in columns
        ]

    def _html_row(self, tag: str, texts: Iterable[str]) -> str:
        cells = zip(texts, self._to_the_right(), strict=True)
        return "<tr>{}</tr>".format(
            "".join(
                f"<{tag}{RIGHT if right else ''}>{escape(text)}</{tag.split()[0]}>"
                for text, right in cells
            )
        )


def table(rows: Iterable[Mapping[str, object]]) -> Table:
    """A table from dictionaries; the first row's keys (and later new ones) head it.

    Whole numbers get thousands separators, other numbers four significant digits (or
    all whole ones, from 1,000 up), None is a dash.
    """
    return Table(rows)


def _is_number(value: object) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if not _is_number(value):
        return str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
