"""Tables as files to save, and what a page's numbers were computed with."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping

from caebook.data import Dataset
from caebook.page.tables import Table
from caebook.provenance import git_version, now, versions
from caebook.settings import Settings

_FILE_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_PACKAGES = ("caebook", "numpy", "onnxruntime", "scikit-image", "scipy", "sewar")


class Downloads:
    """A table as two files, CSV and JSON, with links that save them.

    The links hold the files themselves, so they work without a server or a network.

    Attributes
    ----------
    files
        Text of each file by its name, ``<name>.csv`` and ``<name>.json``.
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
    """Make links that save a table as CSV and as JSON, with numbers in full.

    Both files hold the same values. The JSON file also says where they come from. The
    CSV file (RFC 4180, UTF-8) holds one header line and the rows; missing values are
    empty.

    Parameters
    ----------
    name
        Name of the files without suffix: lower-case words joined by hyphens.
    rows
        Values by column: strings, booleans, finite numbers (NumPy's too) and None.
    about
        Where the values come from, for the JSON file; see `provenance`.

    Raises
    ------
    ValueError
        If the name is not of this form, or a value not of these types.
    """
    if _FILE_NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} cannot name files: use lower-case words joined by hyphens, such "
            "as 'all-results'"
        )
    shown = Table(rows)
    try:
        text = _json_file(shown, about)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be saved as a table: {error}") from error
    csv_text = _csv_file(shown.columns, json.loads(text)["rows"])
    return Downloads({f"{name}.csv": csv_text, f"{name}.json": text})


def _json_file(shown: Table, about: Mapping[str, object]) -> str:
    """Text of the JSON file; a value that it cannot hold raises an error."""
    content = {"about": dict(about), "rows": shown.rows}
    text = json.dumps(
        content, default=_scalar, allow_nan=False, ensure_ascii=False, indent=1
    )
    for number, row in enumerate(json.loads(text)["rows"]):
        for column, value in row.items():
            if isinstance(value, list | dict):
                raise TypeError(f"row {number}, {column!r} holds several values")
    return f"{text}\n"


def _csv_file(columns: list[object], rows: list[dict[str, object]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [str(name) for name in columns])
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _csv_value(value) for key, value in row.items()})
    return file.getvalue()


def _scalar(value: object) -> object:
    """Turn a NumPy scalar into Python's own type."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is neither a string nor a number")


def _csv_value(value: object) -> object:
    """Write a boolean as JSON does."""
    return str(value).lower() if isinstance(value, bool) else value


def provenance(settings: Settings, *datasets: Dataset) -> dict[str, object]:
    """What a page's numbers were computed with: code, settings, data and versions.

    Parameters
    ----------
    settings
        The page's settings.
    datasets
        The data sets that the numbers come from.

    Returns
    -------
    dict
        Values that JSON can hold: ``git``, ``created``, ``profile``, ``seed``,
        ``data`` (SHA-256 by name of data set) and ``versions`` (by package).
    """
    return {
        "git": git_version(),
        "created": now(),
        "profile": settings.profile,
        "seed": settings.seed,
        "data": {
            dataset.name: {"sha256": dataset.sha256, "stand_in": dataset.stand_in}
            for dataset in datasets
        },
        "versions": versions(_PACKAGES),
    }
