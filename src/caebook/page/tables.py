"""Puts computed values on a page: in running text, as tables, and as files to save."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import math
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from importlib import metadata
from numbers import Integral, Number

from IPython.display import display

from caebook.data import Dataset
from caebook.provenance import git_version
from caebook.settings import Settings

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


# --- tables -----------------------------------------------------------------------


class Table:
    """Rows of a table, shown as HTML or plain text.

    A column that holds nothing but numbers is set to the right. A sortable table also
    holds every number in full, for the site's script that sorts it
    (``_static/sortable.js``), and its first column heads the rows.
    """

    def __init__(
        self, rows: Iterable[Mapping[str, object]], *, sortable: bool = False
    ) -> None:
        self.rows = [dict(row) for row in rows]
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row))
        self.sortable = sortable

    def _repr_html_(self) -> str:
        right = self._to_the_right()
        head = "".join(
            f'<th scope="col"{RIGHT if to_right else ""}>{escape(str(name))}</th>'
            for name, to_right in zip(self.columns, right, strict=True)
        )
        body = "".join(f"<tr>{self._html_cells(row, right)}</tr>" for row in self.rows)
        kind = "table sortable" if self.sortable else "table"
        return (
            f'<div class="pst-scrollable-table-container"><table class="{kind}">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        body = [[_text(row.get(name)) for name in self.columns] for row in self.rows]
        cells = [[str(name) for name in self.columns], *body]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        align = [str.rjust if right else str.ljust for right in self._to_the_right()]
        return "\n".join(
            "  ".join(
                set_in(text, width)
                for set_in, text, width in zip(align, row, widths, strict=True)
            ).rstrip()
            for row in cells
        )

    def _to_the_right(self) -> list[bool]:
        columns = [[row.get(name) for row in self.rows] for name in self.columns]
        return [
            any(_is_number(value) for value in column)
            and all(_is_number(value) or value is None for value in column)
            for column in columns
        ]

    def _html_cells(self, row: Mapping[str, object], right: list[bool]) -> str:
        cells = []
        for name, to_right in zip(self.columns, right, strict=True):
            value = row.get(name)
            heads_row = self.sortable and not cells
            opening = 'th scope="row"' if heads_row else "td"
            opening += RIGHT if to_right else ""
            opening += _data_value(value) if self.sortable else ""
            closing = "th" if heads_row else "td"
            cells.append(f"<{opening}>{escape(_text(value))}</{closing}>")
        return "".join(cells)


def table(rows: Iterable[Mapping[str, object]], *, sortable: bool = False) -> Table:
    """A table from dictionaries; the first row's keys (and later new ones) head it.

    Whole numbers get thousands separators, other numbers four significant digits (or
    all whole ones, from 1,000 up), None is a dash.

    Parameters
    ----------
    rows : what each row says, by column
    sortable : whether readers of the site can sort it by its heads
    """
    return Table(rows, sortable=sortable)


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


def _data_value(value: object) -> str:
    """A number in full, as JavaScript reads it; empty where there is no value."""
    if value is None or (_is_number(value) and math.isnan(value)):
        return ' data-value=""'
    if not _is_number(value):
        return ""
    full = str(int(value)) if isinstance(value, Integral) else repr(float(value))
    return f' data-value="{full.replace("inf", "Infinity")}"'


# --- files to save ----------------------------------------------------------------

_FILE_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PACKAGES = ("caebook", "numpy", "onnxruntime", "scikit-image", "scipy", "sewar")


class Downloads:
    """A table as two files, CSV and JSON, with links that save them.

    The links hold the files themselves, so they work without a server or a network.

    Attributes
    ----------
    files : text of each file by its name, ``<name>.csv`` and ``<name>.json``
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)

    def _repr_html_(self) -> str:
        links = []
        for name, text in self.files.items():
            content = text.encode()
            address = (
                f"data:{_MEDIA_TYPES[name.rpartition('.')[2]]};charset=utf-8;base64,"
                f"{base64.b64encode(content).decode()}"
            )
            links.append(
                f'<a download="{name}" href="{address}">{name}</a> ({_size(content)})'
            )
        return f'<p class="downloads">Save as {" or ".join(links)}</p>'

    def __repr__(self) -> str:
        sizes = (f"{name} ({_size(t.encode())})" for name, t in self.files.items())
        return "Save as " + " or ".join(sizes)


_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json"}


def _size(content: bytes) -> str:
    return f"{max(1, round(len(content) / 1000)):,} kB"


def downloads(
    name: str, rows: Iterable[Mapping[str, object]], *, about: Mapping[str, object]
) -> Downloads:
    """Links that save a table as CSV and as JSON, numbers in full.

    Both files hold the same values. The JSON file also says where they are from; the
    CSV file (RFC 4180, UTF-8) holds a head and the rows, nothing else, and leaves
    missing values empty.

    Parameters
    ----------
    name : of the files, without their suffix: lower-case words joined by hyphens
    rows : texts, truth values, finite numbers (NumPy's too) and None by column
    about : stands before the rows in the JSON file; see `provenance`

    Raises
    ------
    ValueError
        If the name or a value is not like this.
    """
    if _FILE_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name for files; use e.g. 'all-results'")
    columns = Table(rows)
    try:
        content = {"about": dict(about), "rows": columns.rows}
        text = json.dumps(
            content, default=_scalar, allow_nan=False, ensure_ascii=False, indent=1
        )
        plain = json.loads(text)["rows"]
        for number, row in enumerate(plain):
            for column, value in row.items():
                if isinstance(value, list | dict):
                    raise TypeError(f"row {number}, {column!r} holds several values")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be saved as a table: {error}") from error
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(map(str, columns.columns)))
    writer.writeheader()
    writer.writerows({key: _csv_text(row[key]) for key in row} for row in plain)
    return Downloads({f"{name}.csv": file.getvalue(), f"{name}.json": f"{text}\n"})


def _scalar(value: object) -> object:
    """NumPy's scalars as Python's own."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is neither a text nor a number")


def _csv_text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def provenance(settings: Settings, *datasets: Dataset) -> dict[str, object]:
    """What a page's numbers were computed with: code, settings, data and versions.

    Parameters
    ----------
    settings : of the page
    datasets : those that the numbers come from
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "git": git_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": settings.profile,
        "seed": settings.seed,
        "data": {
            dataset.name: {"sha256": dataset.sha256, "stand_in": dataset.stand_in}
            for dataset in datasets
        },
        "versions": versions,
    }
