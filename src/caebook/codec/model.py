"""Models: a run with a quantiser and an entropy coder's tables, kept as files.

An autoencoder's codes are compressed with the model's levels and tables, and
decompressed with the same ones. These are stored beside the run's networks as
``codec-<quantiser><bits>-<id>.npz``, a layout that ``book/format.md`` describes.
"""

from __future__ import annotations

import hashlib
import json
import re
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
)
from caebook.codec.identity import DIGITS, model_digest, weights_digest
from caebook.codec.quantise import Quantiser
from caebook.codec.search import search as search_symbols
from caebook.errors import CodecError, RunError
from caebook.files import replacing_file
from caebook.images import SIDE, check_images, slices, to_uint8
from caebook.runs import Run

SCHEMA = 2  # of a model's file; files of schema 1 have no id, and can only read
MODEL_NAME = re.compile(
    r"(?P<run>[a-z0-9+-]{1,200}):(?P<codec>[a-z-]{1,20}[1-8])"
    rf"(?:-(?P<id>[0-9a-f]{{{DIGITS}}}))?"
)
TESTED = 4  # codes in a model's test vector

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
    weights : bytes or None
        SHA-256 of the weights, which the id covers; see `caebook.codec.identity`. If
        empty, it is computed from the run's decoder. None if it is not known, as for a
        model from an old file: such a model cannot write files.

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
    weights: bytes | None = b""
    # Indices and the images that they stand for, from the model's file. A model that is
    # derived with `dataclasses.replace` has none.
    _vector: tuple[np.ndarray, np.ndarray] | None = field(
        default=None, init=False, repr=False
    )

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
        """Name of run and quantiser together."""
        return f"{self.run.name}:{self.name}"

    @cached_property
    def digest(self) -> bytes:
        """The model's id, 32 bytes; files hold the first four.

        Raises
        ------
        CodecError
            If it cannot be computed, or is not known.
        """
        if self.weights is None:
            raise CodecError(
                f"the model {self.id} in {self.run.folder} was made for version 1 of "
                "the format, and only reads files; make it again with `caebook model "
                "make`"
            )
        weights = self.weights or weights_digest(
            read_file(self.run.folder / "decoder.onnx"), f"{self.run.name}'s decoder"
        )
        return model_digest(
            self.run.record.code.shape, self.quantiser.levels, self.tables, weights
        )

    @property
    def short_id(self) -> str:
        """The first hexadecimal digits of the model's id."""
        return self.digest.hex()[:DIGITS]

    @cached_property
    def checksum(self) -> bytes:
        """SHA-256 of levels, tables and the decoder's file, as in version 1.

        Raises
        ------
        CodecError
            If the decoder cannot be read.
        """
        decoder = read_file(self.run.folder / "decoder.onnx")
        shape = list(self.run.record.code.shape)
        digest = hashlib.sha256(f"caebook codec 1 {shape}".encode())
        digest.update(self.quantiser.levels.astype("<f4"))
        digest.update(self.tables.astype("<u2"))
        digest.update(decoder)
        return digest.digest()

    def coder(
        self, name: str = "static", version: int = 2
    ) -> StaticCoder | AdaptiveCoder:
        """A new entropy coder, ``"static"`` or ``"adaptive"``, with these tables."""
        if name == "static":
            return StaticCoder(self.tables, version)
        if name == "adaptive":
            return AdaptiveCoder(*self.tables.shape, self.tables, version)
        raise ValueError(
            f"unknown entropy coder {name!r}; choose one of {', '.join(CODERS)}"
        )

    def symbols(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, 28, 28) → indices, uint8 (N, n).

        The network runs batch by batch: its floats are never all in memory.
        """
        check_images(images)
        symbols = np.empty((len(images), self.numbers), np.uint8)
        with network_errors(self.run):
            for part in slices(len(images)):
                symbols[part] = self.quantiser.encode(self.run.encode(images[part]))
            if self.search:
                symbols = search_symbols(
                    images, symbols, self.images, self.tables, self.search
                )
        return symbols

    def images(self, symbols: np.ndarray) -> np.ndarray:
        """Indices, uint8 (N, n) → images, uint8 (N, 28, 28); batch by batch too.

        Raises
        ------
        CodecError
            If the decoder cannot be used, or computes other images on this machine than
            where the model was made.
        """
        check_symbols(symbols, self.numbers, len(self.quantiser.levels))
        _ = self._tested
        return self._images(symbols)

    def _images(self, symbols: np.ndarray) -> np.ndarray:
        images = np.empty((len(symbols), SIDE, SIDE), np.uint8)
        shape = self.run.record.code.shape
        with network_errors(self.run):
            for part in slices(len(symbols)):
                code = self.quantiser.decode(symbols[part]).reshape(-1, *shape)
                images[part] = to_uint8(self.run.decode(code))
        return images

    @cached_property
    def _tested(self) -> None:
        """Decode the test vector, once; an error if the images differ."""
        if self._vector is None:
            return
        symbols, wanted = self._vector
        apart = np.abs(self._images(symbols).astype(int) - wanted).max()
        if apart > 1:  # one grey level: floats may be added in another order
            raise CodecError(
                f"the decoder in {self.run.folder} computes other images here than "
                f"where the model was made: a pixel is {apart} grey levels off; try "
                "another version of ONNX Runtime (the package onnxruntime)"
            )

    def save(self) -> Path:
        """Write the model beside the run's networks, as one ``.npz`` file.

        Returns
        -------
        Path
            ``codec-<name>-<id>.npz`` in the run's folder. A file of this very model
            stays as it is.

        Raises
        ------
        CodecError
            If the model's id cannot be computed, or a file of the same id differs.
        WriteError
            If it cannot be written.
        """
        path = self.run.folder / f"codec-{self.name}-{self.short_id}.npz"
        if path.exists():
            there = Model.load(path)
            if (there.digest, there.search) == (self.digest, self.search):
                return path
            raise CodecError(
                f"{path} holds another model; model files are never replaced, so move "
                "it away first"
            )
        decoder = read_file(self.run.folder / "decoder.onnx")
        about = {
            "schema": SCHEMA,
            "model": self.id,
            "id": self.digest.hex(),
            "weights": (self.weights or weights_digest(decoder)).hex(),
            "decoder": hashlib.sha256(decoder).hexdigest(),
            "quantiser": self.quantiser.kind,
            "checksum": self.checksum.hex(),
            "number": 1 + max(map(number_of, self._others()), default=0),
            "fitted": self.fitted,
        }
        if self.search:
            about["search"] = self.search
        symbols = self._likely_codes()
        with replacing_file(path) as file:
            np.savez_compressed(
                file,
                about=np.array(json.dumps(about)),
                levels=self.quantiser.levels,
                tables=self.tables,
                test_symbols=symbols,
                test_images=self._images(symbols),
            )
        return path

    def _others(self) -> list[Path]:
        """Files of other models of this run and quantiser."""
        return sorted(self.run.folder.glob(f"codec-{self.name}-*.npz"))

    def _likely_codes(self) -> np.ndarray:
        """Codes as the tables expect them, always the same; uint8 (TESTED, n)."""
        slots = np.random.default_rng(0).integers(1 << 16, size=(TESTED, self.numbers))
        ends = self.tables.cumsum(axis=1, dtype=np.int64)
        return (slots[:, :, None] >= ends).sum(axis=2).astype(np.uint8)

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
                old = about["schema"] == 1
                model = Model(
                    runs.read(path.parent),
                    Quantiser(about["quantiser"], content["levels"]),
                    content["tables"],
                    about["fitted"],
                    float(about.get("search", 0)),
                    None if old else bytes.fromhex(about["weights"]),
                )
                name = f"codec-{model.name}"
                sound = about["checksum"] == model.checksum.hex()
                if not old:
                    vector = content["test_symbols"], content["test_images"]
                    model._set_vector(*vector)
                    name += f"-{about['id'][:DIGITS]}"
                    sound &= about["id"] == model.digest.hex()
                    decoder = read_file(path.parent / "decoder.onnx")
                    sound &= about["decoder"] == hashlib.sha256(decoder).hexdigest()
        except (*_NPZ_ERRORS, RunError) as error:
            raise CodecError(f"{path} cannot be used as a model: {error}") from error
        if not sound or path.name != f"{name}.npz":
            raise CodecError(
                f"{path} does not match the files beside it: the decoder or a name has "
                "changed; make the model again with `caebook model make`"
            )
        return model

    def _set_vector(self, symbols: np.ndarray, images: np.ndarray) -> None:
        """Take a test vector from a file; ValueError if it is none."""
        check_symbols(symbols, self.numbers, len(self.quantiser.levels))
        check_images(images)
        if len(symbols) != len(images):
            raise ValueError(f"{len(symbols)} codes and {len(images)} images to test")
        object.__setattr__(self, "_vector", (symbols, images))


def number_of(path: Path) -> int:
    """A model's number among those of its run and quantiser: the newest has most.

    0 for a file of schema 1, or one that cannot be read.
    """
    try:
        zipfile.ZipFile(path).close()
        with np.load(path, allow_pickle=False) as content:
            return int(json.loads(str(content["about"])).get("number", 0))
    except _NPZ_ERRORS:
        return 0


@contextmanager
def network_errors(run: Run) -> Iterator[None]:
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


def read_run(folder: Path) -> Run:
    """Read a run, as `caebook.runs.read` does; raises CodecError."""
    try:
        return runs.read(folder)
    except RunError as error:
        raise CodecError(str(error)) from error


def read_file(path: Path) -> bytes:
    """The content of a file; CodecError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CodecError(f"{path} cannot be read: {error}") from error
