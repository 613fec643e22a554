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
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from caebook.errors import FindingError
from caebook.files import root
from caebook.settings import Settings

SCHEMA = 1
FOLDER = "findings"
ORIGIN = ("profile", "digits", "letters", "seed")  # settings that a finding is of

Row = dict[str, str | int | float | bool | None]

_NAME = re.compile(r"[0-9]{2}_[a-z0-9]+(?:-[a-z0-9]+)*")


def record(
    name: str, rows: Iterable[Mapping[str, object]], *, settings: Settings
) -> None:
    """Keep a table for later chapters, replacing an earlier one of that name.

    Parameters
    ----------
    name : the chapter's number and a word, e.g. ``"05_claims"``
    rows : texts, truth values, finite numbers (NumPy's too) and None by column

    Raises
    ------
    FindingError
        If the name or a value is not like this, or the file cannot be written. An
        earlier file stays as it was.
    """
    if _NAME.fullmatch(name) is None:
        raise FindingError(f"{name!r} is not a finding's name, e.g. '05_claims'")
    plain = [
        {key: _plain(row[key], f"{name}, row {number}, {key!r}") for key in row}
        for number, row in enumerate(rows)
    ]
    content = {"schema": SCHEMA, **_origin(settings), "rows": plain}
    path = settings.runs_dir / FOLDER / f"{name}.json"
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
        ) as file:
            temporary = Path(file.name)
            json.dump(content, file, indent=1, allow_nan=False, ensure_ascii=False)
            file.write("\n")
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise FindingError(f"{path} cannot be written: {error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def load(name: str, *, settings: Settings) -> list[Row]:
    """The rows of a finding of this build.

    Raises
    ------
    FindingError
        If it is missing, damaged, or was made with another profile, seed or data; the
        message says which chapter to run.
    """
    path = settings.runs_dir / FOLDER / f"{name}.json"
    remedy = f"Run {_chapter(name)} first, or 'make book'."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"it is not a finding of schema {SCHEMA}")
        made_with = {key: content[key] for key in _origin(settings)}
        rows = [dict(row) for row in content["rows"]]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise FindingError(f"{path} cannot be used: {error}. {remedy}") from error
    if made_with != _origin(settings):
        made = ", ".join(map(str, made_with.values()))
        raise FindingError(f"{path} was made with other settings ({made}). {remedy}")
    return rows


def _origin(settings: Settings) -> dict[str, str | int]:
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


def _chapter(name: str) -> str:
    found = sorted((root() / "notebooks").glob(f"{name[:2]}_*.ipynb"))
    return f"notebooks/{found[0].name}" if found else "the chapter that finds it"
