"""Models: a run with a quantiser and an entropy coder's tables, kept as files.

What an autoencoder makes of an image is coded with the model's levels and tables, and
decoded with the same ones. They lie beside the run's networks as
``codec-<quantiser><bits>.npz``, a layout that ``book/format.md`` describes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from caebook import runs
from caebook.codec.entropy import (
    CODERS,
    AdaptiveCoder,
    StaticCoder,
    check_symbols,
    check_tables,
    count_levels,
    frequencies,
)
from caebook.codec.pictures import replacing
from caebook.codec.quantise import QUANTISERS, SAMPLE, Quantiser
from caebook.errors import CodecError, RunError
from caebook.files import root
from caebook.images import SIDE, check_images, slices, to_uint8
from caebook.runs import Run

#: The model that is used when none is named; it comes with the package.
DEFAULT_MODEL = "code16-keras-mnist-s0:lloyd-max4"

MODELS_FOLDER = Path(__file__).with_name("models")
SCHEMA = 1
MODEL_ID = re.compile(r"(?P<run>[a-z0-9+-]{1,200}):(?P<codec>[a-z-]{1,20}[1-8])")

Progress = Callable[[int], object]  # is told how many more images are done


@dataclass(frozen=True, eq=False)
class Model:
    """A run with a quantiser and tables: what files are written and read with.

    Attributes
    ----------
    run : Run
        A recorded autoencoder.
    quantiser : Quantiser
    tables : ndarray of uint16, shape (n, K)
        Of the entropy coder, one row for each of the n numbers of a code.
    fitted : dict
        On what the quantiser and the tables were fitted, for a reader.

    Raises
    ------
    ValueError
        If they do not go together.
    """

    run: Run
    quantiser: Quantiser
    tables: np.ndarray
    fitted: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_tables(self.tables)
        if self.run.record.kind != "autoencoder":
            raise ValueError(f"{self.run.name} is no autoencoder")
        wanted = (self.run.record.code.count, len(self.quantiser.levels))
        if self.tables.shape != wanted:
            raise ValueError(
                f"{self.run.name} with {wanted[1]} levels needs tables of shape "
                f"{wanted}, not {self.tables.shape}"
            )

    @property
    def numbers(self) -> int:
        """Numbers in the code of an image, n."""
        return len(self.tables)

    @property
    def name(self) -> str:
        """Of the quantiser and tables, among others of the same run."""
        return f"{self.quantiser.kind}{self.quantiser.bits}"

    @property
    def id(self) -> str:
        """Of run, quantiser and tables together, as files name it."""
        return f"{self.run.name}:{self.name}"

    @cached_property
    def checksum(self) -> bytes:
        """SHA-256 of all that decoding depends on: levels, tables and the decoder.

        Raises
        ------
        CodecError
            If the decoder cannot be read.
        """
        path = self.run.folder / "decoder.onnx"
        try:
            decoder = path.read_bytes()
        except OSError as error:
            raise CodecError(f"{path} cannot be read: {error}") from error
        shape = list(self.run.record.code.shape)  # printed as in schema 1: [4, 4, 1]
        digest = hashlib.sha256(f"caebook codec {SCHEMA} {shape}".encode())
        digest.update(self.quantiser.levels.astype("<f4"))
        digest.update(self.tables.astype("<u2"))
        digest.update(decoder)
        return digest.digest()

    def coder(self, name: str = "static") -> StaticCoder | AdaptiveCoder:
        """A new entropy coder, ``"static"`` or ``"adaptive"``, with these tables."""
        if name == "static":
            return StaticCoder(self.tables)
        if name == "adaptive":
            return AdaptiveCoder(*self.tables.shape, self.tables)
        raise ValueError(f"entropy coder {name!r} is none of {', '.join(CODERS)}")

    def symbols(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, 28, 28) → indices, uint8 (N, n).

        The network runs batch by batch: its floats are never all in memory.
        """
        check_images(images)
        symbols = np.empty((len(images), self.numbers), np.uint8)
        with _network_errors(self.run):
            for part in slices(len(images)):
                symbols[part] = self.quantiser.encode(self.run.encode(images[part]))
        return symbols

    def images(self, symbols: np.ndarray) -> np.ndarray:
        """Indices, uint8 (N, n) → images, uint8 (N, 28, 28); batch by batch too."""
        check_symbols(symbols, self.numbers, len(self.quantiser.levels))
        images = np.empty((len(symbols), SIDE, SIDE), np.uint8)
        shape = self.run.record.code.shape
        with _network_errors(self.run):
            for part in slices(len(symbols)):
                code = self.quantiser.decode(symbols[part]).reshape(-1, *shape)
                images[part] = to_uint8(self.run.decode(code))
        return images

    def save(self) -> Path:
        """Write levels and tables beside the run's networks, as one ``.npz`` file.

        Returns
        -------
        Path
            ``codec-<name>.npz`` in the run's folder, replaced if it was there.

        Raises
        ------
        CodecError
            If it cannot be written; what was there stays.
        """
        about = {
            "schema": SCHEMA,
            "model": self.id,
            "quantiser": self.quantiser.kind,
            "checksum": self.checksum.hex(),
            "fitted": self.fitted,
        }
        path = self.run.folder / f"codec-{self.name}.npz"
        with replacing(path, force=True) as file:
            np.savez_compressed(
                file,
                about=np.array(json.dumps(about)),
                levels=self.quantiser.levels,
                tables=self.tables,
            )
        return path

    @staticmethod
    def load(path: Path) -> Model:
        """Read a model from its file, which lies in its run's folder.

        Raises
        ------
        CodecError
            If it cannot be read, is damaged, or the run's decoder is another one than
            it was made for.
        """
        try:
            zipfile.ZipFile(path).close()  # NumPy takes what is none for a pickle
            with np.load(path, allow_pickle=False) as content:
                about = json.loads(str(content["about"]))
                levels, tables = content["levels"], content["tables"]
            model = Model(
                runs.read(path.parent),
                Quantiser(about["quantiser"], levels),
                tables,
                about["fitted"],
            )
            sound = about["checksum"] == model.checksum.hex()
        except (*_NPZ_ERRORS, RunError) as error:
            raise CodecError(f"{path} cannot be used as a model: {error}") from error
        if not sound or path.name != f"codec-{model.name}.npz":
            raise CodecError(
                f"{path} was not made for what lies beside it: the decoder, or a name, "
                "has changed; make the model again with `caebook model make`"
            )
        return model


@contextmanager
def _network_errors(run: Run) -> Iterator[None]:
    """Say which run is to blame if its networks fail or make no numbers."""
    try:
        yield
    except (RunError, ValueError, TypeError) as error:
        raise CodecError(f"{run.folder} cannot be used: {error}") from error


# What reading a damaged .npz file raises.
_NPZ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def fit(
    run: Run,
    images: np.ndarray,
    bits: int = 4,
    kind: str = "lloyd-max",
    fitted: dict | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a quantiser and tables to what a run makes of training images.

    Parameters
    ----------
    run : Run
    images : ndarray of uint8, shape (N, 28, 28)
        Training images, in no particular order.
    bits, kind
        Of the quantiser; see `QUANTISERS`.
    fitted : dict, optional
        What to record of where the images came from; must be fit for JSON.
    progress : callable, optional
        Is told how many more images are done.

    Returns
    -------
    Model
        Not saved yet.
    """
    check_images(images)
    if run.record.kind != "autoencoder":
        raise CodecError(f"{run.name} is a classifier: it makes no codes to store")
    if kind not in QUANTISERS:
        raise ValueError(f"quantiser {kind!r} is none of {list(QUANTISERS)}")
    numbers = run.record.code.count
    counts = np.zeros((numbers, 1 << bits), np.int64)
    with _network_errors(run):
        enough = images[: max(1, SAMPLE // numbers)]
        quantiser = QUANTISERS[kind](run.encode(enough), bits)
        for part in slices(len(images)):
            symbols = quantiser.encode(run.encode(images[part]))
            counts += count_levels(symbols, 1 << bits)
            if progress is not None:
                progress(len(symbols))
    about = {**(fitted or {}), "images": len(images)}
    return Model(run, quantiser, frequencies(counts), about)


def package(run: Run, folder: Path) -> Run:
    """Copy a run to `folder`, with a decoder that does the same faster.

    Raises
    ------
    CodecError
        If the copy cannot be written, or the run's networks cannot be used.
    """
    target, staging = folder / run.name, None
    if target.exists():
        raise CodecError(f"{target} exists already; remove it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=".packing-"))
        for name in ("encoder.onnx", "decoder.onnx", "run.json"):
            shutil.copyfile(run.folder / name, staging / name)
        (staging / "decoder.onnx").write_bytes(_faster_decoder(run, staging))
        staging.chmod(0o755)
        staging.rename(target)
    except OSError as error:
        raise CodecError(f"{target} cannot be written: {error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return read_run(target)


def _faster_decoder(run: Run, staging: Path) -> bytes:
    """A decoder that gives the same as the run's; it is tried out in `staging`."""
    from caebook.training.onnx import split_narrow_convolutions  # this needs `onnx`

    own = (run.folder / "decoder.onnx").read_bytes()
    codes = np.random.default_rng(0).random(
        (64, *run.record.code.shape), dtype=np.float32
    )
    with _network_errors(run):
        wanted = run.decode(codes)
    for early in (True, False):
        try:
            faster = split_narrow_convolutions(own, early)
            (staging / "decoder.onnx").write_bytes(faster)
            found = Run(staging, run.record).decode(codes)
        except (ValueError, RunError):  # not a network for which this is right
            continue
        if found.shape == wanted.shape and np.allclose(
            found, wanted, rtol=0, atol=runs.TOLERANCE
        ):
            return faster
    return own


def read_run(folder: Path) -> Run:
    """`caebook.runs.read`, with an error like the others here."""
    try:
        return runs.read(folder)
    except RunError as error:
        raise CodecError(str(error)) from error


def find_model(name: str | Path = DEFAULT_MODEL, checksum: bytes = b"") -> Model:
    """The model of that name, or in that folder.

    Parameters
    ----------
    name : str or Path
        The id of a model (``<run>:<quantiser><bits>``), or the path of a run's folder
        or of a model's file in it. Models are looked for in the package, in
        ``reference/`` and in the runs of this checkout's builds.
    checksum : bytes
        What the model's checksum has to start with.

    Raises
    ------
    CodecError
        If there is no such model; the message says which there are.
    """
    named = MODEL_ID.fullmatch(str(name))
    if named is None:
        paths = _files_in(Path(name))
    else:
        codec = f"codec-{named['codec']}.npz"
        paths = [folder / named["run"] / codec for folder in _folders()]
        paths = [path for path in paths if os.path.isfile(path)]
        if not paths:
            raise CodecError(f"there is no model {name} here; {_those_here()}")
    models = [Model.load(path) for path in paths]
    for model in models:
        if model.checksum.startswith(checksum):
            return model
    raise CodecError(
        f"the model {models[0].id} in {models[0].run.folder} has the checksum "
        f"{models[0].checksum[:8].hex()}, not {checksum.hex()}: it was made anew since"
    )


def _files_in(path: Path) -> list[Path]:
    """The file of the one model in a run's folder, or that file itself."""
    if os.path.isfile(path):  # pathlib's raises where a folder must not be entered
        return [path]
    if not os.path.isfile(path / "run.json"):
        raise CodecError(
            f"{path} is neither a model's name nor the folder of a run; {_those_here()}"
        )
    found = sorted(path.glob("codec-*.npz"))
    if not found:
        raise CodecError(
            f"{path} holds a run without quantiser and tables; make them with "
            f"`caebook model make {path}`"
        )
    if len(found) > 1:
        choice = " or ".join(str(file) for file in found)
        raise CodecError(f"{path} holds several models; name one of them: {choice}")
    return found


def _folders() -> list[Path]:
    """Where runs with models may be, in the order they are looked for."""
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
    here = {f"{p.parent.name}:{p.stem.removeprefix('codec-')}" for p in list_models()}
    if not here:
        return "no model is here yet: `caebook model make` makes one from a run"
    return f"here are {', '.join(sorted(here))}"
