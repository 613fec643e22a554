"""Where models are: in the package, in ``reference/`` and in this checkout's builds."""

from __future__ import annotations

import os
from pathlib import Path

from caebook.codec.model import MODEL_ID, Model
from caebook.errors import CodecError
from caebook.files import root

#: The model that is used when none is named; it comes with the package.
DEFAULT_MODEL = "code16-keras-mnist-s0:lloyd-max4"

#: Short names of models.
SHORT_NAMES = {"rate": "rate-torch-mnist-s0:uniform6"}

MODELS_FOLDER = Path(__file__).with_name("models")


def find_model(name: str | Path = DEFAULT_MODEL, checksum: bytes = b"") -> Model:
    """Find a model by its name or its folder.

    Parameters
    ----------
    name : str or Path
        The id of a model (``<run>:<quantiser><bits>``) or a key of `SHORT_NAMES`, which
        is looked for in the package, in ``reference/`` and in the runs of this
        checkout's builds; or the path of a run's folder or of a model's file in it.
    checksum : bytes
        The first bytes of the checksum that the model must have.

    Raises
    ------
    CodecError
        If there is no such model; the message lists those that there are.
    """
    name = SHORT_NAMES.get(str(name), name)
    named = MODEL_ID.fullmatch(str(name))
    if named is None:
        paths = _files_in(Path(name))
    else:
        codec = f"codec-{named['codec']}.npz"
        paths = [folder / named["run"] / codec for folder in _folders()]
        paths = [path for path in paths if os.path.isfile(path)]
        if not paths:
            raise CodecError(f"no model {name} was found; {_those_here()}")
    models = [Model.load(path) for path in paths]
    for model in models:
        if model.checksum.startswith(checksum):
            return model
    raise CodecError(
        f"the model {models[0].id} in {models[0].run.folder} has the checksum "
        f"{models[0].checksum[:8].hex()}, not {checksum.hex()}: it was made again since"
    )


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
    if len(found) > 1:
        choice = " or ".join(str(file) for file in found)
        raise CodecError(f"{path} holds several models; name one of them: {choice}")
    return found


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
