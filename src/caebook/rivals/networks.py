"""Autoencoders as codecs, and what their decoders cost."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from caebook import codec, runs
from caebook.codec import Model
from caebook.evaluation import metrics
from caebook.images import check_images, to_uint8
from caebook.rivals.base import Rival, digest, int8_rows, stored
from caebook.rivals.transforms import pack, unpack
from caebook.runs import Run

REMEMBERED = 256  # codes of so many numbers, or fewer, are computed once
HARMLESS = 1.01  # an error that grows by less than this factor is left as it is
FRAMEWORKS = {"keras": "Keras", "torch": "PyTorch"}


class CodingRun(Run):
    """A run that remembers the codes of images: they are rounded in many ways."""

    @cached_property
    def _known(self) -> _Codes:
        return _Codes(self.record.code.shape)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Run`; an image is encoded once unless its code is large."""
        check_images(images)
        if self.record.code.count > REMEMBERED:
            return super().encode(images)
        keys = [digest(image) for image in images]
        new = {key: k for k, key in enumerate(keys) if key not in self._known.rows}
        if new:
            self._known.add(list(new), super().encode(images[list(new.values())]))
        return self._known.of(keys)


class _Codes:
    """Codes by their images' keys.

    They lie in one array: many small ones would split the free memory between them into
    parts that a network's floats do not fit into, which took 2 GB.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rows: dict[bytes, int] = {}
        self._codes = np.empty((4096, *shape), np.float32)

    def add(self, keys: list[bytes], codes: np.ndarray) -> None:
        start, stop = len(self.rows), len(self.rows) + len(keys)
        if stop > len(self._codes):
            more = np.empty((stop, *codes.shape[1:]), np.float32)
            self._codes = np.concatenate([self._codes, more])
        self._codes[start:stop] = codes
        self.rows.update(zip(keys, range(start, stop), strict=True))

    def of(self, keys: list[bytes]) -> np.ndarray:
        return self._codes[[self.rows[key] for key in keys]]


@dataclass(frozen=True)
class Compact:
    """A run with a decoder of rounded weights, as a reader gets it.

    Attributes
    ----------
    run : a copy of the run, which computes with the rounded weights
    precision : ``"int8"``, ``"float16"`` or ``"float32"``: what a weight is kept in
    bytes : of weights and network, after xz
    """

    run: Run
    precision: str
    bytes: int


def compact(run: Run, folder: Path, images: np.ndarray) -> Compact:
    """Round a decoder's weights as far as does no harm.

    Parameters
    ----------
    run : an autoencoder
    folder : where copies are put
    images : uint8 (N, 28, 28), on which the error must not grow by a hundredth
    """
    own = (run.folder / "decoder.onnx").read_bytes()
    code = run.encode(images)
    error = metrics.mse(images, _images(run, code)).mean()
    for precision in ("int8", "float16", "float32"):
        content, parts = rounded(own, precision)
        copy = _copy(run, folder / precision, content)
        changed = metrics.mse(images, _images(copy, code)).mean()
        if changed <= HARMLESS * error or precision == "float32":
            break
    faster = codec.package(copy, folder / "faster")
    fast = CodingRun(faster.folder, faster.record, faster.instead_of)
    return Compact(fast, precision, stored(*parts))


def rounded(model: bytes, precision: str) -> tuple[bytes, list[bytes]]:
    """Round an ONNX file's float32 weights; return it, and what a reader must be given.

    Weights of two dimensions and more are rounded; in int8 with a scale for each output
    channel. All others (biases) are at most rounded to float16. The file that comes
    back holds the rounded values as float32, so that it runs anywhere; a reader needs
    the network without weights, and the weights in their precision.

    Parameters
    ----------
    model : an ONNX file
    precision : ``"int8"``, ``"float16"`` or ``"float32"``
    """
    proto = onnx.load_from_string(model)
    weights = []
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and precision != "float32":
            if precision == "int8" and values.ndim > 1:
                parts = int8_rows(values.reshape(len(values), -1))
                values = (parts[0] * parts[1]).reshape(values.shape)
                weights += parts
            else:
                weights.append(values.astype(np.float16))
                values = weights[-1].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        else:
            weights.append(values)
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")
    joined = b"".join(np.ascontiguousarray(part).tobytes() for part in weights)
    return proto.SerializeToString(), [bare.SerializeToString(), joined]


class Network(Rival):
    """An autoencoder: all images in one ``.cae`` file.

    Parameters
    ----------
    decoder : the run, with the decoder that is charged
    model : quantiser and tables for it
    """

    family = "autoencoder"

    def __init__(self, decoder: Compact, model: Model) -> None:
        record = decoder.run.record
        self.model, self.framework, self.system = model, record.framework, record.system
        bits = model.quantiser.bits
        self.setting = f"{bits} bit{'s' * (bits > 1)}"
        self.name = f"{self.system}, {FRAMEWORKS[self.framework]}"
        self.side = decoder.bytes + stored(model.quantiser.levels, model.tables)

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        return codec.compress(images, self.model)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        return codec.decompress(stream, self.model)


class PackedNetwork(Network):
    """The same as records: indices side by side, with nothing around them.

    An image takes ``numbers · bits / 8`` bytes.
    """

    def __init__(self, decoder: Compact, model: Model) -> None:
        super().__init__(decoder, model)
        self.name = f"{self.system} packed, {FRAMEWORKS[self.framework]}"
        self.side = decoder.bytes + stored(model.quantiser.levels)

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        return pack(self.model.symbols(images), self.model.quantiser.bits)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        index = unpack(stream, self.model.quantiser.bits, self.model.numbers)
        return self.model.images(index.astype(np.uint8))


def _images(run: Run, code: np.ndarray) -> np.ndarray:
    return to_uint8(run.decode(code))


def _copy(run: Run, folder: Path, decoder: bytes) -> Run:
    """A copy of the run in `folder`, with another decoder."""
    target = folder / run.name
    target.mkdir(parents=True)
    for name in ("encoder.onnx", "run.json"):
        shutil.copyfile(run.folder / name, target / name)
    (target / "decoder.onnx").write_bytes(decoder)
    return runs.read(target)
