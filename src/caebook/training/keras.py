"""Training and exporting Keras networks: float32 (N, 28, 28, 1), channels last."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from caebook.environment import release_memory
from caebook.errors import FrameworkError
from caebook.images import check_images, in_batches, slices, to_float
from caebook.training.bias import mean_pixel_bias
from caebook.training.boundary import PROBE_IMAGES, Exported
from caebook.training.checkpoint import Checkpoint
from caebook.training.checks import check_classes, check_shape, check_training, explain
from caebook.training.history import History
from caebook.training.noise import training_noise, validation_noise
from caebook.training.onnx import tidy
from caebook.training.order import batches, epoch_seed
from caebook.training.recipes import Recipe
from caebook.training.schedule import learning_rate, steps_per_epoch
from caebook.training.shift import training_shift

if keras.backend.backend() != "tensorflow":
    raise FrameworkError(
        f"Keras was imported with the backend {keras.backend.backend()}, but this book "
        "needs TensorFlow: restart the kernel, and import caebook before keras"
    )
# Keras has these already, unless it was imported before this package.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_dtype_policy("float32")
keras.config.set_epsilon(1e-7)

tf.config.experimental.enable_op_determinism()

LOSSES = {
    "bce": keras.losses.BinaryCrossentropy,
    "mse": keras.losses.MeanSquaredError,
    "crossentropy": lambda: keras.losses.SparseCategoricalCrossentropy(
        from_logits=True
    ),
    "bce on logits": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
}


def to_tensor(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 28, 28) → float32 (N, 28, 28, 1) in [0, 1]."""
    return to_float(images)[..., None]


def count_parameters(model: keras.Model) -> int:
    """Number of trainable weights and biases."""
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def predict(
    model: keras.Model, images: np.ndarray, batch_size: int = 100
) -> np.ndarray:
    """The model's float32 output for uint8 (N, 28, 28), computed batch by batch."""
    check_images(images)
    return in_batches(
        lambda batch: model.predict_on_batch(to_tensor(batch)), images, batch_size
    )


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

    If the recipe names a noise, the network sees the images with it, in training and in
    validation, and the target is the clean image.

    Parameters
    ----------
    model : maps float32 (N, 28, 28, 1) to the same shape, or to logits (N, classes)
    images, validation : uint8 (N, 28, 28)
        As many images as the recipe says.
    labels, validation_labels : class indices (N,); None for an autoencoder
    seed : fixes the order of the batches; 0 or above. Dropout follows the seed that
        was set when the network was built.
    checkpoint : file to save after every epoch and to resume from

    Returns
    -------
    History
        Losses per epoch, as means over images: the training loss during the epoch, the
        validation loss at its end. The seconds exclude validation.

    Raises
    ------
    TypeError, ValueError
        If images, labels, recipe and network do not match; nothing is trained.
    CheckpointError
        If the checkpoint is damaged.
    WriteError
        If the checkpoint cannot be written.

    Notes
    -----
    Seeds the global generators of Python, NumPy and TensorFlow at each epoch.
    """
    check_training(recipe, images, labels, validation, validation_labels)
    first = to_tensor(images[:1])
    with explain("the network cannot be trained on these images"):
        output = model(first, training=False)  # this also builds an unbuilt network
        if labels is None:
            check_shape(output, first.shape, "an autoencoder's output")
        else:
            classes = check_shape(output, (1, None), "a classifier's output")[1]
            check_classes(classes, labels, validation_labels)
    if recipe.loss == "rate" and not model.losses:
        raise ValueError("the loss 'rate' needs a layer that adds the bits as a loss")
    if recipe.logits:
        _check_logits(model, first, output)
    if recipe.initial_bias is not None:
        _start_at_mean_pixel(model, images)
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate), loss=_loss(recipe)
    )
    model.optimizer.build(model.trainable_variables)
    saved = Checkpoint(None)
    if checkpoint is not None:
        saved = Checkpoint(
            checkpoint,
            *("keras", keras.__version__, tf.__version__),
            *(recipe, seed, _architecture(model), *_state(model).values()),
            *(images, labels, validation, validation_labels),
        )
    history = _restore(saved, model)
    held_out, steps = slices(len(validation)), steps_per_epoch(recipe)
    with _on_logits(model) if recipe.logits else contextlib.nullcontext():
        for epoch in range(len(history.loss), recipe.epochs):
            index = list(batches(len(images), recipe.batch_size, seed, epoch))
            rates = [learning_rate(recipe, epoch * steps + i) for i in range(steps)]
            keras.utils.set_random_seed(epoch_seed(seed, epoch))
            start = time.perf_counter()
            loss = _epoch(
                *(model, model.train_on_batch, images, labels, index),
                training_noise(recipe.noise, seed, epoch),
                rates,
                training_shift(recipe.shifted, seed, epoch),
            )
            seconds = time.perf_counter() - start
            noisy = validation_noise(recipe.noise, seed)
            val_loss = _epoch(
                *(model, model.test_on_batch, validation, validation_labels),
                *(held_out, noisy),
            )
            history.add(recipe.epochs, loss, val_loss, seconds)
            saved.save(history, _state(model))
    # The compiled steps hold memory; Keras compiles them again when they are needed.
    model.train_function = model.test_function = None
    release_memory()
    return history


def _loss(recipe: Recipe) -> Callable:
    """The loss that the recipe names; of ``rate`` the distortion, weighted.

    The bits are added by the network's layer that estimates them.
    """
    if recipe.loss != "rate":
        return LOSSES["bce on logits" if recipe.logits else recipe.loss]()

    def distortion(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
        squares = keras.ops.square(images - reconstructions)
        return recipe.distortion_weight * keras.ops.sum(squares, axis=(1, 2, 3))

    return distortion


def _epoch(
    model: keras.Model,
    on_batch: Callable[..., dict],
    images: np.ndarray,
    labels: np.ndarray | None,
    parts: Sequence[np.ndarray | slice],
    noisy: Callable[[np.ndarray], np.ndarray],
    rates: Sequence[float] | None = None,
    shifted: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> float:
    """Train or test on batches, cast to float32 one by one; return the mean loss.

    `noisy` makes what the network sees of a batch, which is `shifted` before; `rates`
    are the learning rates of the batches, in training.

    `model.fit` would take such batches from a generator. TensorFlow's generators change
    how the whole process allocates memory, which made PyTorch, which shares the process
    with it in the chapters, a third slower.
    """
    total = 0.0
    for number, part in enumerate(parts):
        if rates is not None:
            model.optimizer.learning_rate = rates[number]
        clean = shifted(images[part])
        batch = to_tensor(noisy(clean))
        target = to_tensor(clean) if labels is None else labels[part]
        model.reset_metrics()  # else Keras returns a running mean
        total += on_batch(batch, target, return_dict=True)["loss"] * len(batch)
    return float(total) / len(images)


def _layers(model: keras.Model) -> list[keras.Layer]:
    """The layers of `model` and of the models in it, in the order of the model."""
    layers = []
    for layer in model.layers:
        layers += _layers(layer) if isinstance(layer, keras.Model) else [layer]
    return layers


def _ends_in_sigmoid(model: keras.Model) -> bool:
    last = _layers(model)[-1]
    return getattr(last, "activation", None) is keras.activations.sigmoid


@contextlib.contextmanager
def _without_sigmoid(model: keras.Model) -> Iterator[None]:
    """Take the sigmoid off the last layer; put it back when the context ends."""
    last = _layers(model)[-1]
    last.activation = keras.activations.linear
    try:
        yield
    finally:
        last.activation = keras.activations.sigmoid


@contextlib.contextmanager
def _on_logits(model: keras.Model) -> Iterator[None]:
    """Train the compiled `model` without its sigmoid while the context lasts."""
    try:
        with _without_sigmoid(model):
            yield
    finally:  # forget the functions that Keras compiled without the sigmoid
        model.compile(optimizer=model.optimizer, loss=LOSSES["bce"]())


def _check_logits(model: keras.Model, images: np.ndarray, output: tf.Tensor) -> None:
    """Raise ValueError unless `output`, for `images`, is that of a last sigmoid."""
    found = _ends_in_sigmoid(model)
    if found:
        with _without_sigmoid(model):
            again = keras.activations.sigmoid(model(images, training=False))
        found = np.allclose(again, output, rtol=0, atol=1e-6)
    if not found:
        raise ValueError(
            "the recipe computes the loss on logits, so the network must end in a "
            'layer with activation="sigmoid"'
        )


def _start_at_mean_pixel(model: keras.Model, images: np.ndarray) -> None:
    """Set the last bias so that an untrained output is about the images' mean pixel."""
    weighted = [layer for layer in _layers(model) if layer.weights]
    bias = getattr(weighted[-1], "bias", None) if weighted else None
    if bias is None:
        raise ValueError(
            "the recipe starts the last bias at the mean pixel, but the network's last "
            "layer with weights has no bias"
        )
    value = mean_pixel_bias(images, _ends_in_sigmoid(model))
    bias.assign(keras.ops.full(bias.shape, value))


def _architecture(model: keras.Model) -> list:
    """Layers and their settings, without the names that Keras numbers by itself."""
    described = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            described.append(_architecture(layer))
        else:
            settings = layer.get_config()
            settings.pop("name", None)
            described.append((type(layer).__name__, settings))
    return described


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """All that training changes: weights, dropout's generators, Adam's moments."""
    named = {f"model/{i}": v for i, v in enumerate(model.variables)}
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
    """Export an autoencoder to the ONNX boundary, channels last.

    Parameters
    ----------
    encoder : maps float32 (N, 28, 28, 1) to (N, h, w, c)
    decoder : maps float32 (N, h, w, c) to (N, 28, 28, 1)
    images : uint8 (N, 28, 28); the first few become the probe

    Raises
    ------
    ValueError
        If encoder, decoder and images do not fit together.
    """
    check_images(images)
    probe = images[:PROBE_IMAGES]
    count = len(probe)
    with explain("the encoder cannot be exported"):
        code = encoder(to_tensor(probe), training=False)
        shape = check_shape(code, (count, None, None, None), "the code")
    with explain("the decoder cannot be exported"):
        decoded = decoder(code, training=False)
        check_shape(decoded, (count, 28, 28, 1), "the decoder's output")
    pixels, numbers = keras.Input((28, 28)), keras.Input(shape[1:])
    encode = keras.Model(pixels, encoder(keras.layers.Reshape((28, 28, 1))(pixels)))
    decode = keras.Model(numbers, keras.layers.Reshape((28, 28))(decoder(numbers)))
    parts = {"encoder": count_parameters(encoder), "decoder": count_parameters(decoder)}
    return Exported(
        "keras",
        {
            "encoder": _to_onnx(encode, "encoder"),
            "decoder": _to_onnx(decode, "decoder"),
        },
        probe,
        {"encoder": np.asarray(code), "decoder": np.asarray(decoded)[..., 0]},
        {"total": sum(parts.values()), **parts},
    )


def export_classifier(model: keras.Model, images: np.ndarray) -> Exported:
    """Export a classifier that ends in logits (N, classes) to the ONNX boundary.

    Raises
    ------
    ValueError
        If `model` does not turn each image into one row of logits.
    """
    check_images(images)
    probe = images[:PROBE_IMAGES]
    with explain("the classifier cannot be exported"):
        logits = model(to_tensor(probe), training=False)
        check_shape(logits, (len(probe), None), "the logits")
    pixels = keras.Input((28, 28))
    outputs = model(keras.layers.Reshape((28, 28, 1))(pixels))
    classify = keras.Model(pixels, keras.layers.Softmax()(outputs))
    return Exported(
        "keras",
        {"classifier": _to_onnx(classify, "classifier")},
        probe,
        {"classifier": np.asarray(keras.ops.softmax(logits))},
        {"total": count_parameters(model), "encoder": None, "decoder": None},
    )


def _to_onnx(model: keras.Model, name: str) -> bytes:
    # Keras exports only a model that has been called.
    model(np.zeros((1, *model.input_shape[1:]), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about NumPy, inside the exporter
            model.export(str(path), format="onnx", verbose=False)
        release_memory()  # the exporter left 195 MB after the wide kernel's network
        return tidy(path.read_bytes(), name)
