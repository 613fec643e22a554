"""Findings: tables that one chapter computes and a later one uses.

A run carries a trained network from chapter to chapter; a finding carries what a
chapter worked out. It is a JSON file, ``findings/<number>_<what>.json`` beside the
runs, whose number is that of the chapter.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from caebook.errors import FindingError
from caebook.files import root, write_text
from caebook.settings import Settings

SCHEMA = 1
FOLDER = "findings"
ORIGIN = ("profile", "digits", "letters", "seed")  # settings that a finding depends on
REMEDY = "Run 'make book', which computes it."

Row = dict[str, str | int | float | bool | None]

_NAME = re.compile(r"[0-9]{2}_[a-z0-9]+(?:-[a-z0-9]+)*")


def record(
    name: str, rows: Iterable[Mapping[str, object]], *, settings: Settings
) -> None:
    """Save a table for later chapters, replacing an earlier one of that name.

    Parameters
    ----------
    name : the chapter's number and a word, e.g. ``"05_claims"``
    rows : texts, truth values, finite numbers (NumPy's too) and None by column

    Raises
    ------
    FindingError
        If the name or a value is invalid.
    WriteError
        If the file cannot be written. After either error an earlier file is unharmed.
    """
    if _NAME.fullmatch(name) is None:
        raise FindingError(f"{name!r} is not a finding's name, e.g. '05_claims'")
    plain = [
        {key: _plain(row[key], f"{name}, row {number}, {key!r}") for key in row}
        for number, row in enumerate(rows)
    ]
    content = {"schema": SCHEMA, **_origin(settings), "rows": plain}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(_path(name, settings), f"{text}\n")


def load(name: str, *, settings: Settings) -> list[Row]:
    """The rows of a finding: of this build, else of ``reference/``.

    One from ``reference/`` may have been made under another profile and on other
    images: what it was made with is printed.

    Raises
    ------
    FindingError
        If it is missing, damaged, or was made with another seed, or in this build with
        another profile or data; the message says what to do.
    """
    path = _path(name, settings)
    kept = root() / "reference" / FOLDER / path.name
    from_reference = not os.path.lexists(path) and kept.is_file()
    path = kept if from_reference else path
    made_with, rows = _read(path)
    differ = {
        key: value
        for key, value in made_with.items()
        if None not in (value, getattr(settings, key))
        and value != getattr(settings, key)
    }
    if differ and not (from_reference and "seed" not in differ):
        made = ", ".join(map(str, made_with.values()))
        raise FindingError(f"{path} was made with other settings ({made}). {REMEDY}")
    if from_reference:
        print(f"using the finding {name} (reference){_about(differ)}")
    return rows


def _read(path: Path) -> tuple[dict[str, str | int | None], list[Row]]:
    """What a finding was made with, and its rows."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"it is not a finding of schema {SCHEMA}")
        made_with = {key: content[key] for key in ORIGIN}
        rows = [dict(row) for row in content["rows"]]
    except FileNotFoundError as error:
        raise FindingError(f"there is no finding {path}. {REMEDY}") from error
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise FindingError(f"{path} cannot be used: {error}. {REMEDY}") from error
    return made_with, rows


def _about(differ: Mapping[str, str | int | None]) -> str:
    """What a finding of other settings was made with."""
    if not differ:
        return ""
    return ", made with " + ", ".join(f"{key} {value}" for key, value in differ.items())


def _path(name: str, settings: Settings) -> Path:
    return settings.runs_dir / FOLDER / f"{name}.json"


def _origin(settings: Settings) -> dict[str, str | int | None]:
    return {key: getattr(settings, key) for key in ORIGIN}


def _plain(value: object, where: str) -> object:
    """A value as JSON can hold it; NumPy's scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    known = value is None or isinstance(value, str | int | float)
    if not known or (isinstance(value, float) and not math.isfinite(value)):
        raise FindingError(
            f"{where}: must be a text, a truth value, a finite number or None, not "
            f"{value!r}"
        )
    return value
