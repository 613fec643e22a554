"""Training and exporting Keras networks: float32 (N, 28, 28, 1), channels last."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from caebook.training import (
    PROBE_IMAGES,
    Checkpoint,
    Exported,
    History,
    Recipe,
    batches,
    check_images,
    to_float,
)
from caebook.training.onnx import tidy

tf.config.experimental.enable_op_determinism()

LOSSES = {
    "bce": keras.losses.BinaryCrossentropy,
    "mse": keras.losses.MeanSquaredError,
    "crossentropy": lambda: keras.losses.SparseCategoricalCrossentropy(
        from_logits=True
    ),
}


def to_tensor(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 28, 28) → float32 (N, 28, 28, 1) in [0, 1]."""
    return to_float(images)[..., None]


class Batches(keras.utils.PyDataset):
    """One epoch of (input, target) pairs, cast to float32 batch by batch."""

    def __init__(self, images, labels, index: list[np.ndarray]) -> None:
        super().__init__()
        self.images, self.labels, self.index = images, labels, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        index = self.index[number]
        batch = to_tensor(self.images[index])
        return batch, batch if self.labels is None else self.labels[index]


def count_parameters(model: keras.Model) -> int:
    """Number of trainable weights and biases."""
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def predict(
    model: keras.Model, images: np.ndarray, batch_size: int = 500
) -> np.ndarray:
    """The model's float32 output for uint8 (N, 28, 28), computed batch by batch."""
    check_images(images)
    outputs = [
        model.predict_on_batch(to_tensor(images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(outputs)


def fit(
    model: keras.Model,
    images: np.ndarray,
    recipe: Recipe,
    *,
    validation: np.ndarray,
    labels: np.ndarray | None = None,
    validation_labels: np.ndarray | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> History:
    """Train `model` by `recipe`; the target is the image itself, or its label.

    Parameters
    ----------
    model : maps float32 (N, 28, 28, 1) to the same shape, or to logits (N, classes)
    images, validation : uint8 (N, 28, 28)
    labels, validation_labels : class indices (N,); None for an autoencoder
    seed : fixes the order of the batches (and any dropout)
    checkpoint : file to save after every epoch and to resume from

    Returns
    -------
    History
        Losses per epoch; the training loss is the mean over the epoch's batches.
    """
    check_images(images)
    check_images(validation, "validation")
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=LOSSES[recipe.loss](),
    )
    model.optimizer.build(model.trainable_variables)
    saved = Checkpoint(
        checkpoint, recipe, _architecture(model), seed, images, *model.get_weights()
    )
    history = _restore(saved, model)
    held_out = Batches(
        validation,
        validation_labels,
        np.array_split(np.arange(len(validation)), -(-len(validation) // 500)),
    )
    for epoch in range(len(history.loss), recipe.epochs):
        index = list(batches(len(images), recipe.batch_size, seed, epoch))
        keras.utils.set_random_seed(seed * 1_000_003 + epoch)
        start = time.perf_counter()
        # `shuffle` would reorder whole batches; the order is already drawn.
        result = model.fit(
            Batches(images, labels, index), epochs=1, shuffle=False, verbose=0
        )
        seconds = time.perf_counter() - start
        val_loss = model.evaluate(held_out, verbose=0)
        history.add(recipe.epochs, result.history["loss"][0], val_loss, seconds)
        saved.save(history, _state(model))
    return history


def _architecture(model: keras.Model) -> list:
    """Layers and their settings, without the names that Keras numbers by itself."""
    described = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            described.append(_architecture(layer))
        else:
            settings = layer.get_config()
            settings.pop("name")
            described.append((type(layer).__name__, settings))
    return described


def _variables(model: keras.Model) -> dict[str, object]:
    named = {f"model/{i}": v for i, v in enumerate(model.weights)}
    named |= {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}
    return named


def _state(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in _variables(model).items()
    }


def _restore(saved: Checkpoint, model: keras.Model) -> History:
    loaded = saved.load()
    if loaded is None:
        return History()
    history, state = loaded
    for name, variable in _variables(model).items():
        variable.assign(state[name])
    return history


def export(encoder: keras.Model, decoder: keras.Model, images: np.ndarray) -> Exported:
    """Bring an autoencoder to the ONNX boundary, channels last.

    Parameters
    ----------
    encoder : maps float32 (N, 28, 28, 1) to (N, h, w, c)
    decoder : maps float32 (N, h, w, c) to (N, 28, 28, 1)
    images : uint8 (N, 28, 28); the first few become the probe
    """
    check_images(images)
    probe = images[:PROBE_IMAGES]
    pixels = keras.Input((28, 28))
    encode = keras.Model(pixels, encoder(keras.layers.Reshape((28, 28, 1))(pixels)))
    numbers = keras.Input(encode.output.shape[1:])
    decode = keras.Model(numbers, keras.layers.Reshape((28, 28))(decoder(numbers)))
    # Keras exports only a model that has been called, so call before exporting.
    code = np.asarray(encode(to_float(probe)))
    decoded = np.asarray(decode(code))
    parts = {"encoder": count_parameters(encoder), "decoder": count_parameters(decoder)}
    return Exported(
        "keras",
        {
            "encoder": _to_onnx(encode, "encoder"),
            "decoder": _to_onnx(decode, "decoder"),
        },
        probe,
        {"encoder": code, "decoder": decoded},
        {"total": sum(parts.values()), **parts},
    )


def export_classifier(model: keras.Model, images: np.ndarray) -> Exported:
    """Bring a classifier that ends in logits (N, classes) to the ONNX boundary."""
    check_images(images)
    probe = images[:PROBE_IMAGES]
    pixels = keras.Input((28, 28))
    logits = model(keras.layers.Reshape((28, 28, 1))(pixels))
    classify = keras.Model(pixels, keras.layers.Softmax()(logits))
    probabilities = np.asarray(classify(to_float(probe)))
    return Exported(
        "keras",
        {"classifier": _to_onnx(classify, "classifier")},
        probe,
        {"classifier": probabilities},
        {"total": count_parameters(model), "encoder": None, "decoder": None},
    )


def _to_onnx(model: keras.Model, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about NumPy, inside the exporter
            model.export(str(path), format="onnx", verbose=False)
        return tidy(path.read_bytes(), name)
