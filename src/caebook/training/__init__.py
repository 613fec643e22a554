"""What training means in this book, whichever framework does it.

`caebook.training.keras` and `caebook.training.torch` offer the same functions: ``fit``,
``predict``, ``count_parameters``, ``export`` and ``export_classifier``. This module
holds what they share and imports neither framework.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The fields are those of ``run.json``."""

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    loss: str = "bce"  # "bce", "mse" or "crossentropy"
    epochs: int = 1
    batch_size: int = 128
    train_images: int = 60_000
    precision: str = "float32"

    def __post_init__(self) -> None:
        supported = {
            "optimizer": {"adam"},
            "schedule": {"constant"},
            "loss": {"bce", "mse", "crossentropy"},
            "precision": {"float32"},
        }
        for name, values in supported.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not known; use one of "
                    f"{sorted(values)}"
                )
        if min(self.epochs, self.batch_size, self.train_images) < 1:
            raise ValueError("epochs, batch_size and train_images must be at least 1")


@dataclass
class History:
    """One entry per epoch: mean training loss, validation loss, training seconds."""

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, epochs: int, loss: float, val_loss: float, seconds: float) -> None:
        """Append an epoch and print it as one line of plain text."""
        self.loss.append(float(loss))
        self.val_loss.append(float(val_loss))
        self.seconds.append(float(seconds))
        print(
            f"epoch {len(self.loss)}/{epochs}  loss {loss:.4f}  "
            f"val_loss {val_loss:.4f}  {seconds:.0f} s",
            flush=True,
        )


@dataclass(frozen=True)
class Exported:
    """A trained network at the ONNX boundary, with what it must reproduce there.

    Attributes
    ----------
    framework : "keras" or "torch"
    models : ONNX files by name: ``encoder`` and ``decoder``, or ``classifier``
    probe : uint8 (n, 28, 28), images that were put through the framework's own model
    outputs : the framework's own output of each model for the probe, float32
    parameters : ``total``, ``encoder``, ``decoder``
    """

    framework: str
    models: dict[str, bytes]
    probe: np.ndarray
    outputs: dict[str, np.ndarray]
    parameters: dict[str, int | None]


# Names at the ONNX boundary, the same from both frameworks: model → (input, output).
BOUNDARY = {
    "encoder": ("images", "code"),
    "decoder": ("code", "images"),
    "classifier": ("images", "probabilities"),
}
PROBE_IMAGES = 16


def batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Indices of one epoch's batches: the same order in both frameworks.

    The order depends on `seed` and `epoch` only, so a resumed training sees what an
    uninterrupted one would have seen. The last batch may be smaller.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def to_float(images: np.ndarray) -> np.ndarray:
    """Scale uint8 pixels (…) to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def check_images(images: np.ndarray, what: str = "images") -> None:
    """Raise unless `images` is a non-empty uint8 array of shape (N, 28, 28)."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise TypeError(
            f"{what} must be uint8 of shape (N, 28, 28), not {images.dtype} of shape "
            f"{images.shape}; they are scaled to [0, 1] batch by batch"
        )
    if len(images) == 0:
        raise ValueError(f"{what} must hold at least one image")


class CheckpointError(Exception):
    """A checkpoint cannot be read; the message says which and what to do."""


class Checkpoint:
    """The state of a training after its last finished epoch, in one ``.npz`` file.

    `fingerprint` names the training: recipe, architecture, initial weights, data, seed.
    A checkpoint with another fingerprint belongs to another training and is ignored.
    Arrays are stored without pickle; writes are atomic.
    """

    def __init__(self, path: Path | None, *identity: object) -> None:
        self.path = path
        digest = hashlib.sha256()
        for part in identity if path else ():
            if isinstance(part, np.ndarray):
                digest.update(np.ascontiguousarray(part))
            else:
                digest.update(repr(part).encode())
        self.fingerprint = digest.hexdigest()

    def save(self, history: History, state: dict[str, np.ndarray]) -> None:
        """Write `state` and `history`, replacing the checkpoint in one step."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {"fingerprint": self.fingerprint, "history": asdict(history)}
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **state)
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def load(self) -> tuple[History, dict[str, np.ndarray]] | None:
        """Read the last finished epoch, or None if this training has none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            about = json.loads(str(state.pop("about")))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{self.path} is damaged ({error}); delete it to train from the start"
            ) from error
        if about["fingerprint"] != self.fingerprint:
            print(f"{self.path.name} is of another training: starting from scratch")
            return None
        history = History(**about["history"])
        print(f"resuming after epoch {len(history.loss)} from {self.path.name}")
        return history, state
