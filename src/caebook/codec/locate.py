"""Where models are: in the package, in ``reference/`` and in this checkout's builds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from caebook.codec.identity import DIGITS
from caebook.codec.model import MODEL_NAME, Model, number_of
from caebook.errors import CodecError
from caebook.files import root

#: The model that is used when none is named; it comes with the package.
DEFAULT_MODEL = "code16-keras-mnist-s0:lloyd-max4"

#: Short names of models.
SHORT_NAMES = {"rate": "rate-torch-mnist-s0:uniform6"}

_ID = re.compile(r"[0-9a-f]{6,64}")

MODELS_FOLDER = Path(__file__).with_name("models")


def find_model(name: str | Path = DEFAULT_MODEL, checksum: bytes = b"") -> Model:
    """Find a model by its name, its id or its folder.

    Parameters
    ----------
    name : str or Path
        - A model's name, ``<run>:<quantiser><bits>``, or a key of `SHORT_NAMES`. It is
          looked for in the package, in ``reference/`` and in the runs of this
          checkout's builds; of several in one folder, the one made last is taken.
        - Such a name with the first eight digits of the id, ``…-1a2b3c4d``.
        - Six or more of the first hexadecimal digits of an id.
        - The path of a run's folder, or of a model's file in it.
    checksum : bytes
        The first bytes of the checksum that the model must have, as in files of version
        1.

    Raises
    ------
    CodecError
        If there is no such model, or the digits are those of several; the message lists
        those that there are.
    """
    name = SHORT_NAMES.get(str(name), name)
    if _ID.fullmatch(str(name)):
        return _with_id(str(name))
    named = MODEL_NAME.fullmatch(str(name))
    if named is None:
        paths = _files_in(Path(name))
    else:
        paths = _named(named["run"], named["codec"], named["id"] or "")
        if not paths:
            raise CodecError(f"no model {name} was found; {_those_here()}")
    return _first(paths, checksum)


def _named(run: str, codec: str, digits: str) -> list[Path]:
    """Files of the models of a name, folder by folder, the newest first."""
    paths = []
    for folder in _folders():
        here = folder / run
        found = sorted(here.glob(f"codec-{codec}-{digits or '?' * DIGITS}.npz"))
        found.sort(key=number_of, reverse=True)
        old = here / f"codec-{codec}.npz"
        paths += found
        if not digits and os.path.isfile(old):
            paths.append(old)
    return paths


def _first(paths: list[Path], checksum: bytes) -> Model:
    """The first model that can be read and has this checksum."""
    models, errors = [], []
    for path in paths:
        try:
            model = Model.load(path)
        except CodecError as error:  # made for an earlier decoder, say
            errors.append(error)
            continue
        if model.checksum.startswith(checksum):
            return model
        models.append(model)
    if not models:
        raise errors[0]
    raise CodecError(
        f"the model {models[0].id} in {models[0].run.folder} has the checksum "
        f"{models[0].checksum[:8].hex()}, not {checksum.hex()}: it was made again since"
    )


def _with_id(digits: str) -> Model:
    """The only model whose id starts with these hexadecimal digits."""
    paths = [p for p in list_models() if p.stem[-DIGITS:].startswith(digits[:DIGITS])]
    found: dict[bytes, Model] = {}
    errors = []
    for path in paths:
        try:
            model = Model.load(path)
        except CodecError as error:
            errors.append(error)
            continue
        if model.weights is not None and model.digest.hex().startswith(digits):
            found.setdefault(model.digest, model)
    if len(found) > 1:
        those = " and ".join(f"{m.id} ({m.digest.hex()})" for m in found.values())
        raise CodecError(
            f"the models {those} have ids that start with {digits}; name one with -m"
        )
    if found:
        return next(iter(found.values()))
    if errors:
        raise errors[0]
    raise CodecError(f"no model {digits} was found; {_those_here()}")


def _files_in(path: Path) -> list[Path]:
    """The model's file in a run's folder, or `path` itself if it is a file."""
    if os.path.isfile(path):  # Path.is_file raises where a folder is not readable
        return [path]
    if not os.path.isfile(path / "run.json"):
        raise CodecError(
            f"{path} is neither a model's name nor the folder of a run; {_those_here()}"
        )
    found = sorted(path.glob("codec-*.npz"))
    if not found:
        raise CodecError(
            f"{path} holds a run without a model; make one with "
            f"`caebook model make {path}`"
        )
    kinds = {re.sub(rf"-[0-9a-f]{{{DIGITS}}}$", "", file.stem) for file in found}
    if len(kinds) > 1:
        choice = " or ".join(str(file) for file in found)
        raise CodecError(f"{path} holds several models; name one of them: {choice}")
    return sorted(found, key=number_of, reverse=True)


def _folders() -> list[Path]:
    """Folders of runs that may have models, in the order of the search."""
    builds = sorted((root() / "build").glob("*/runs"))
    return [MODELS_FOLDER, root() / "reference", *builds]


def list_models() -> list[Path]:
    """The files of all models that `find_model` finds by name."""
    return [
        path
        for folder in _folders()
        for path in sorted(folder.glob("*/codec-*.npz"))
        if not path.parent.name.startswith(".")
    ]


def _those_here() -> str:
    """A list of the models' names, for an error message."""
    here = {f"{p.parent.name}:{p.stem.removeprefix('codec-')}" for p in list_models()}
    if not here:
        return "there are none yet; `caebook model make` makes one from a run"
    return f"the models here are {', '.join(sorted(here))}"
