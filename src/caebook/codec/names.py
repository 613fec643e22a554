"""Names of compressed PNG files: which are safe, and where version 1 keeps them.

A ``.cae`` file holds the names of its images itself. Version 1 of the format has no
room for them: ``digits.names.json`` holds those of the images in ``digits.cae``, with
the sha256 of that file, so that names of another file are recognised. Names are
optional: without them, images are numbered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from caebook.errors import DataError

SCHEMA = 1
LONGEST = 255  # bytes of a name that file systems accept
_LARGEST = 1 << 28  # bytes of a file of names that is read


def path_of(cae: Path) -> Path:
    """The path of the names that belong to a ``.cae`` file of version 1."""
    return cae.with_name(f"{cae.name.removesuffix('.cae')}.names.json")


def default_names(cae: Path, count: int) -> list[str]:
    """Names for images without any: the file's own, or numbers in order."""
    if count == 1:
        return [f"{cae.name.removesuffix('.cae')}.png"]
    digits = len(str(count - 1))
    return [f"{number:0{digits}d}.png" for number in range(count)]


def problem(names: Sequence[str]) -> str:
    """Why files of these names cannot be written into one folder; "" if they can."""
    for name in names:
        if not name or name.startswith("."):
            return f"{name!r} is empty or hidden"
        if "/" in name or "\\" in name or not name.isprintable():
            return f"{name!r} holds a character that is not allowed"
        if len(name.encode(errors="surrogatepass")) > LONGEST:
            return f"{name[:20]!r}… is too long"
    if len({name.casefold() for name in names}) < len(names):
        return "two names are equal, or differ in upper and lower case only"
    return ""


def read(cae: Path, count: int) -> list[str] | None:
    """Read and check the names of the images in a ``.cae`` file of version 1.

    Parameters
    ----------
    cae : Path
    count : int
        Images in it.

    Returns
    -------
    list of str or None
        One for each image, fit to be file names; None if there is no file of names.

    Raises
    ------
    DataError
        If the file of names is damaged, of another ``.cae`` file, or unsafe.
    """
    path = path_of(cae)
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST))
        schema, sha256, names = (content[k] for k in ("schema", "sha256", "names"))
        with cae.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({error!r})") from error
    if schema != SCHEMA:
        raise DataError(f"{path}: is not of schema {SCHEMA}")
    if sha256 != found:
        raise DataError(f"{path}: holds the names of another file than {cae}")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise DataError(f"{path}: is damaged (names must be a list of strings)")
    if len(names) != count:
        raise DataError(f"{path}: holds {len(names):,} names for {count:,} images")
    if reason := problem(names):
        raise DataError(f"{path}: cannot be used ({reason})")
    return names
