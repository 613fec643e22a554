"""Models: a run with a quantiser and an entropy coder's tables, kept as files.

An autoencoder's codes are compressed with the model's levels and tables, and
decompressed with the same ones. These are stored beside the run's networks as
``codec-<quantiser><bits>.npz``, a layout that ``book/format.md`` describes.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from caebook.codec.quantise import SAMPLE, WAYS, Quantiser
from caebook.codec.search import search as search_symbols
from caebook.errors import CodecError, RunError
from caebook.files import replacing_file, replacing_folder
from caebook.images import SIDE, check_images, slices, to_uint8
from caebook.runs import Run

SCHEMA = 1
MODEL_ID = re.compile(r"(?P<run>[a-z0-9+-]{1,200}):(?P<codec>[a-z-]{1,20}[1-8])")

Progress = Callable[[int], object]  # called with the number of images just done


@dataclass(frozen=True, eq=False)
class Model:
    """A run with a quantiser and tables: all that writing or reading a file needs.

    Attributes
    ----------
    run : Run
        A recorded autoencoder.
    quantiser : Quantiser
    tables : ndarray of uint16, shape (n, K)
        The entropy coder's, one row for each of the n numbers of a code.
    fitted : dict
        The data that quantiser and tables were fitted to, for information.
    search : float
        If above 0, the encoder tries neighbouring levels and keeps what lowers bits +
        `search` · squared error; see `caebook.codec.search`. Decoding does not use it.

    Raises
    ------
    ValueError
        If the run is not an autoencoder, or the tables do not have the shape that its
        code and the quantiser need.
    """

    run: Run
    quantiser: Quantiser
    tables: np.ndarray
    fitted: dict = field(default_factory=dict)
    search: float = 0.0

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
        """Name of the quantiser, which tells a run's models apart."""
        return f"{self.quantiser.kind}{self.quantiser.bits}"

    @property
    def id(self) -> str:
        """Name of run and quantiser together, as it is written into files."""
        return f"{self.run.name}:{self.name}"

    @cached_property
    def checksum(self) -> bytes:
        """SHA-256 of everything that decoding uses: levels, tables and the decoder.

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
        raise ValueError(
            f"unknown entropy coder {name!r}; choose one of {', '.join(CODERS)}"
        )

    def symbols(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, 28, 28) → indices, uint8 (N, n).

        The network runs batch by batch: its floats are never all in memory.
        """
        check_images(images)
        symbols = np.empty((len(images), self.numbers), np.uint8)
        with _network_errors(self.run):
            for part in slices(len(images)):
                symbols[part] = self.quantiser.encode(self.run.encode(images[part]))
            if self.search:
                symbols = search_symbols(
                    images, symbols, self.images, self.tables, self.search
                )
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
        WriteError
            If it cannot be written; an earlier file stays.
        """
        about = {
            "schema": SCHEMA,
            "model": self.id,
            "quantiser": self.quantiser.kind,
            "checksum": self.checksum.hex(),
            "fitted": self.fitted,
        }
        if self.search:
            about["search"] = self.search
        path = self.run.folder / f"codec-{self.name}.npz"
        with replacing_file(path) as file:
            np.savez_compressed(
                file,
                about=np.array(json.dumps(about)),
                levels=self.quantiser.levels,
                tables=self.tables,
            )
        return path

    @staticmethod
    def load(path: Path) -> Model:
        """Read a model from its file, which is in its run's folder.

        Raises
        ------
        CodecError
            If it cannot be read, is damaged, or was made for a decoder that differs
            from the run's.
        """
        try:
            zipfile.ZipFile(path).close()  # NumPy would try to unpickle anything else
            with np.load(path, allow_pickle=False) as content:
                about = json.loads(str(content["about"]))
                levels, tables = content["levels"], content["tables"]
            model = Model(
                runs.read(path.parent),
                Quantiser(about["quantiser"], levels),
                tables,
                about["fitted"],
                float(about.get("search", 0)),
            )
            sound = about["checksum"] == model.checksum.hex()
        except (*_NPZ_ERRORS, RunError) as error:
            raise CodecError(f"{path} cannot be used as a model: {error}") from error
        if not sound or path.name != f"codec-{model.name}.npz":
            raise CodecError(
                f"{path} does not match the files beside it: the decoder or a name has "
                "changed; make the model again with `caebook model make`"
            )
        return model


@contextmanager
def _network_errors(run: Run) -> Iterator[None]:
    """Name the run in the error if its networks fail or return NaN."""
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
    search: float = 0.0,
) -> Model:
    """Fit a quantiser and tables to a run's codes of training images.

    Parameters
    ----------
    run : Run
    images : ndarray of uint8, shape (N, 28, 28)
        Training images, in no particular order.
    bits, kind
        Of the quantiser; see `caebook.codec.quantise.WAYS`.
    fitted : dict, optional
        Where the images came from, to be recorded; anything that JSON can hold.
    progress : callable, optional
        Called with the number of images just done.
    search : float
        See `Model`. If above 0, tables are fitted again to codes that were searched
        with the first ones, of at most 10,000 of the images.

    Returns
    -------
    Model
        Not saved yet.

    Raises
    ------
    CodecError
        If the run is a classifier, or its encoder cannot be used.
    ValueError
        If the kind of quantiser is unknown.
    """
    check_images(images)
    if run.record.kind != "autoencoder":
        raise CodecError(f"{run.name} is a classifier: it makes no codes to store")
    if kind not in WAYS:
        raise ValueError(f"quantiser {kind!r} is none of {list(WAYS)}")
    numbers = run.record.code.count
    counts = np.zeros((numbers, 1 << bits), np.int64)
    with _network_errors(run):
        enough = images[: max(1, SAMPLE // numbers)]
        quantiser = WAYS[kind](run.encode(enough), bits)
        for part in slices(len(images)):
            symbols = quantiser.encode(run.encode(images[part]))
            counts += count_levels(symbols, 1 << bits)
            if progress is not None:
                progress(len(symbols))
    about = {**(fitted or {}), "images": len(images)}
    model = Model(run, quantiser, frequencies(counts), about, search)
    if not search:
        return model
    symbols = model.symbols(images[:_SEARCHED])
    counts = count_levels(symbols, 1 << bits)
    return replace(model, tables=frequencies(counts))


_SEARCHED = 10_000  # of the images, because a search takes a hundred decodings each


def package(run: Run, folder: Path) -> Run:
    """Copy a run to `folder`, with a decoder that computes the same images faster.

    Parameters
    ----------
    run : Run
    folder : Path
        Where the run's folder is put; made if it is missing.

    Returns
    -------
    Run
        The copy.

    Raises
    ------
    CodecError
        If the copy exists already, or the run's networks cannot be used.
    WriteError
        If the copy cannot be written. Nothing is left behind.
    """
    target = folder / run.name
    if target.exists():
        raise CodecError(f"{target} exists already; remove it first")
    content = {name: _read(run.folder / name) for name in _PACKAGED}
    with replacing_folder(target) as staging:
        for name, part in content.items():
            (staging / name).write_bytes(part)
        (staging / "decoder.onnx").write_bytes(_faster_decoder(run, staging))
    return read_run(target)


_PACKAGED = ("encoder.onnx", "decoder.onnx", "run.json")


def _faster_decoder(run: Run, staging: Path) -> bytes:
    """An equivalent of the run's decoder, which is tried out in `staging`."""
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
    """Read a run, as `caebook.runs.read` does; raises CodecError."""
    try:
        return runs.read(folder)
    except RunError as error:
        raise CodecError(str(error)) from error


def _read(path: Path) -> bytes:
    """The content of a file; CodecError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CodecError(f"{path} cannot be read: {error}") from error
