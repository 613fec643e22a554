"""What training means in this book, whichever framework does it.

`caebook.training.keras` and `caebook.training.torch` offer the same functions: ``fit``,
``predict``, ``count_parameters``, ``export`` and ``export_classifier``. This module
holds what they share and imports neither framework.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The fields are those of ``run.json``.

    Raises
    ------
    ValueError
        If a field has a value that `fit` does not know.
    """

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
        for name in ("epochs", "batch_size", "train_images"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number, at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be above 0")


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


def slices(count: int, size: int = 100) -> list[slice]:
    """Consecutive parts of at most `size`, which bounds the memory of a pass."""
    return [slice(start, start + size) for start in range(0, count, size)]


def epoch_seed(seed: int, epoch: int) -> int:
    """The frameworks' own seed for an epoch's dropout: 32 bits, any seed from 0 up."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def to_float(images: np.ndarray) -> np.ndarray:
    """Scale uint8 pixels (…) to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def check_images(images: np.ndarray, what: str = "images") -> None:
    """Raise unless `images` is a non-empty uint8 array of shape (N, 28, 28)."""
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{what} must be a NumPy array, not {type(images).__name__}")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise TypeError(
            f"{what} must be uint8 of shape (N, 28, 28), not {images.dtype} of shape "
            f"{images.shape}; they are scaled to [0, 1] batch by batch"
        )
    if len(images) == 0:
        raise ValueError(f"{what} must hold at least one image")


def check_training(
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray | None,
    validation: np.ndarray,
    validation_labels: np.ndarray | None,
) -> None:
    """Raise TypeError or ValueError unless `fit` can train with these by `recipe`."""
    pairs = (("images", images, labels), ("validation", validation, validation_labels))
    for what, pictures, classes in pairs:
        check_images(pictures, what)
        if (classes is not None) != (recipe.loss == "crossentropy"):
            raise ValueError(
                f"{what} come {'without' if classes is None else 'with'} labels, but "
                f"the loss is {recipe.loss!r}: 'crossentropy' needs labels, for both "
                "images and validation, and the other losses take none"
            )
        if classes is not None and (
            np.shape(classes) != (len(pictures),)
            or np.asarray(classes).dtype.kind not in "iu"
            or np.min(classes) < 0
        ):
            raise ValueError(
                f"the labels of {what} must be class indices from 0 up, one for each "
                f"of the {len(pictures)} images"
            )
    if len(images) != recipe.train_images:
        raise ValueError(
            f"the recipe says {recipe.train_images} training images, but there are "
            f"{len(images)}; dataclasses.replace(recipe, train_images=…) changes that"
        )


def check_shape(
    output: object, expected: tuple[int | None, ...], what: str
) -> tuple[int, ...]:
    """Shape of a network's output; ValueError unless it is as expected (None: any)."""
    if not hasattr(output, "shape"):
        raise ValueError(
            f"{what} must be one array, not {type(output).__name__}: a network here "
            "has one input and one output"
        )
    shape = tuple(output.shape)
    if len(shape) != len(expected) or any(
        wanted not in (None, size) for size, wanted in zip(shape, expected, strict=True)
    ):
        wanted = ", ".join("…" if size is None else str(size) for size in expected)
        raise ValueError(f"{what} must have the shape ({wanted}), not {shape}")
    return shape


def check_classes(classes: int, *labels: np.ndarray) -> None:
    """Raise ValueError if a label is no index into `classes` outputs."""
    if (highest := max(int(np.max(part)) for part in labels)) >= classes:
        raise ValueError(
            f"the network has {classes} outputs, but there are labels up to {highest}"
        )


@contextlib.contextmanager
def explain(what: str) -> Iterator[None]:
    """Turn whatever a framework raises on a wrong network into one clear ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {error}") from error


class CheckpointError(Exception):
    """A checkpoint cannot be read or written; the message says which and what to do."""


class Checkpoint:
    """The state of a training after its last finished epoch, in one ``.npz`` file.

    The checkpoint is of one training, known by everything that decides its outcome:
    framework and version, recipe, architecture, initial weights, data, seed. A file
    with another identity belongs to another training and is ignored.
    Arrays are stored without pickle; writes are atomic.
    """

    def __init__(self, path: Path | None, *identity: object) -> None:
        self.path = None if path is None else Path(path)
        digest = hashlib.sha256()
        for part in identity if self.path else ():
            if isinstance(part, np.ndarray):
                digest.update(f"{part.dtype}{part.shape}".encode())
                digest.update(np.ascontiguousarray(part))
            else:
                digest.update(repr(part).encode())
        self.fingerprint = digest.hexdigest()

    def save(self, history: History, state: dict[str, np.ndarray]) -> None:
        """Write `state` and `history`, replacing the checkpoint in one step.

        Raises
        ------
        CheckpointError
            If it cannot be written; the previous checkpoint stays as it was.
        """
        if self.path is None:
            return
        about = {"fingerprint": self.fingerprint, "history": asdict(history)}
        temporary = self.path.with_name(f"{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **state)
            os.replace(temporary, self.path)
        except OSError as error:
            raise CheckpointError(
                f"{self.path} cannot be written ({error}); free some space or choose "
                "another folder: an earlier checkpoint is unharmed, and running again "
                "resumes from it"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def load(self) -> tuple[History, dict[str, np.ndarray]] | None:
        """Read the last finished epoch, or None if this training has none.

        Raises
        ------
        CheckpointError
            If the file is damaged.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            about = json.loads(str(state.pop("about")))
            fingerprint, history = about["fingerprint"], History(**about["history"])
            epochs = {len(values) for values in asdict(history).values()}
            if len(epochs) != 1:
                raise ValueError("its history is not complete")
        except Exception as error:  # a damaged archive can raise almost anything
            raise CheckpointError(
                f"{self.path} is damaged ({error}); delete it to train from the start"
            ) from error
        if fingerprint != self.fingerprint:
            print(f"{self.path.name} is of another training: starting from scratch")
            return None
        print(f"resuming after epoch {len(history.loss)} from {self.path.name}")
        return history, state
