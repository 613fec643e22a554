"""Tables on a page, as HTML and as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from numbers import Integral, Number
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

RIGHT = ' class="text-right"'
#: Columns with a longer text break it where the table would be wider than the page.
LONG_TEXT = 16


class Table:
    """Rows of a table, shown as HTML or plain text.

    Columns of numbers are aligned to the right. A sortable table also holds every
    number in full, for the script that sorts it (``_static/sortable.js``), and its
    first column holds the rows' headers.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, object]],
        *,
        sortable: bool = False,
        caption: str | None = None,
    ) -> None:
        if hasattr(rows, "to_dict"):  # a pandas data frame, whose index is a column
            rows = rows.reset_index() if rows.index.names != [None] else rows
            rows = rows.to_dict("records")
        self.caption = caption
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row))
        self.sortable = sortable

    def _repr_html_(self) -> str:
        right = self._right_aligned()
        headers = "".join(
            f'<th scope="col"{RIGHT if aligned else ""}>{escape(str(name))}</th>'
            for name, aligned in zip(self.columns, right, strict=True)
        )
        body = "".join(f"<tr>{self._html_cells(row, right)}</tr>" for row in self.rows)
        caption = ""
        if self.caption:  # a block of its own stays in sight where a wide table scrolls
            caption = f"<caption><span>{escape(self.caption)}</span></caption>"
        kind = "table sortable" if self.sortable else "table"
        return (
            f'<div class="pst-scrollable-table-container"><table class="{kind}">'
            f"{caption}<thead><tr>{headers}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        body = [[_text(row.get(name)) for name in self.columns] for row in self.rows]
        cells = [[str(name) for name in self.columns], *body]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        align = [str.rjust if right else str.ljust for right in self._right_aligned()]
        return "\n".join(
            "  ".join(
                set_in(text, width)
                for set_in, text, width in zip(align, row, widths, strict=True)
            ).rstrip()
            for row in cells
        )

    def _right_aligned(self) -> list[bool]:
        """Of each column, whether it holds numbers, and otherwise only None."""
        columns = [[row.get(name) for row in self.rows] for name in self.columns]
        return [
            any(_is_number(value) for value in column)
            and all(_is_number(value) or value is None for value in column)
            for column in columns
        ]

    def _html_cells(self, row: Mapping[str, object], right: list[bool]) -> str:
        cells = []
        for name, aligned in zip(self.columns, right, strict=True):
            value = row.get(name)
            is_header = self.sortable and not cells
            opening = 'th scope="row"' if is_header else "td"
            if aligned:
                opening += RIGHT
            elif len(_text(value)) > LONG_TEXT:
                opening += ' class="words"'
            opening += _data_value(value) if self.sortable else ""
            closing = "th" if is_header else "td"
            cells.append(f"<{opening}>{escape(_text(value))}</{closing}>")
        return "".join(cells)


def table(
    rows: Iterable[Mapping[str, object]] | pandas.DataFrame,
    *,
    sortable: bool = False,
    caption: str | None = None,
) -> Table:
    """Make a table from dictionaries, whose keys are the columns, or from a data frame.

    Whole numbers get thousands separators, other numbers four significant digits (from
    1,000 up all digits before the point); None is a dash.

    Parameters
    ----------
    rows
        Values of each row, by column. Columns stand in the order in which they are
        first met.
    sortable
        Whether readers of the site can sort the table by clicking its headers.
    caption
        What to see; the site numbers tables that have one.
    """
    return Table(rows, sortable=sortable, caption=caption)


def _is_number(value: object) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _text(value: object) -> str:
    if value is None or value != value:  # NaN, as pandas marks what is missing
        return "–"
    if not _is_number(value):
        return str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _data_value(value: object) -> str:
    """A number in full, as JavaScript reads it; empty where there is no value."""
    if value is None or (_is_number(value) and math.isnan(value)):
        return ' data-value=""'
    if not _is_number(value):
        return ""
    full = str(int(value)) if isinstance(value, Integral) else repr(float(value))
    return f' data-value="{full.replace("inf", "Infinity")}"'
