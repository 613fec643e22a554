"""The stand-ins in the cache: drawn once, then read and checked like other files.

The drawing itself, `caebook.data.glyphs`, is imported only when it is needed: it takes
most of a second and tens of megabytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
from dataclasses import replace
from pathlib import Path

from PIL import features

from caebook.data.contents import Contents, read_files
from caebook.data.folders import CACHE_REMEDY, cache_folder, locked_cache, not_here
from caebook.data.idx import idx_sha256
from caebook.data.registry import DRAWN, DrawnData
from caebook.errors import DataError
from caebook.files import replacing_folder

logger = logging.getLogger(__name__)

_RECORD = "drawn.json"  # what the files hold, and what they were drawn with


def load_or_draw(name: str) -> Contents:
    """Read a stand-in from the cache; draw it if it is missing or not sound.

    Parameters
    ----------
    name : str
        One of the names in `caebook.data.registry.DRAWN`.

    Returns
    -------
    Contents

    Raises
    ------
    WriteError
        If it has to be drawn and the cache cannot be written.
    """
    if contents := _read_if_sound(name):
        return contents
    with locked_cache(name) as folder:
        # Another process may have drawn it in the meantime.
        if contents := _read_if_sound(name, quiet=True):
            return contents
        _draw(DRAWN[name], folder)
        return read_drawn(name)


def read_drawn(name: str) -> Contents:
    """Read a stand-in from the cache, checked against the record beside its files.

    Raises
    ------
    DataError
        If it is missing, damaged, or drawn by other versions of the software.
    """
    folder = cache_folder() / name
    remedy = f"run `caebook data fetch {name}` to draw it again"
    if not folder.is_dir():
        raise DataError(f"{not_here(name)}; {remedy}")
    record = folder / _RECORD
    try:
        drawn = json.loads(record.read_text("utf-8"))
        recipe, checksums = drawn["recipe"], dict(drawn["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record}: missing or damaged; {remedy}") from error
    if recipe != _recipe(DRAWN[name]):
        raise DataError(f"{folder}: drawn by other versions of the software; {remedy}")
    files = [
        replace(file, sha256=checksums.get(file.name, "not recorded"))
        for file in DRAWN[name].files
    ]
    return read_files(folder, files, remedy)


def _read_if_sound(name: str, quiet: bool = False) -> Contents | None:
    """Read a stand-in, or return None and say why it has to be drawn again."""
    if not (cache_folder() / name).is_dir():
        return None
    try:
        return read_drawn(name)
    except DataError as error:
        if not quiet:
            logger.warning("%s. It is drawn again now.", error)
        return None


def _draw(drawn: DrawnData, folder: Path) -> None:
    """Draw a stand-in and put it into the cache as a whole."""
    from caebook.data import glyphs

    arrays = glyphs.draw(drawn.kind, 0, drawn.train, drawn.test, progress=True)
    checksums = {}
    with replacing_folder(folder, remedy=CACHE_REMEDY) as staging:
        for file, array in zip(drawn.files, arrays, strict=True):
            with (staging / file.name).open("wb") as output:
                output.write(file.header)
                output.write(array)
            checksums[file.name] = idx_sha256(array)
        record = {"recipe": _recipe(drawn), "sha256": checksums}
        (staging / _RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _recipe(drawn: DrawnData) -> dict[str, object]:
    """Return everything that decides the bytes of a stand-in."""
    packages = ("matplotlib", "numpy", "pillow", "scikit-image", "scipy")
    return {
        "drawing": drawn.version,
        "seed": 0,
        "images": [drawn.train, drawn.test],
        "freetype": features.version("freetype2"),
        **{name: importlib.metadata.version(name) for name in packages},
    }
