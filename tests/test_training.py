"""Training and export in both frameworks: the same promises, the same numbers.

Each framework has a small class here that builds its networks, so that one test covers
both. The networks are tiny and the images random: the tests are about bookkeeping.
"""

import os
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import torch
from keras import layers
from torch import nn

from caebook import training
from caebook.errors import CheckpointError, WriteError
from caebook.images import to_float
from caebook.training import BOUNDARY, FAST_RECIPE, Checkpoint, History, Recipe
from caebook.training import keras as keras_training
from caebook.training import onnx as onnx_training
from caebook.training import torch as torch_training
from caebook.training.bias import mean_pixel_bias
from caebook.training.boundary import PROBE_IMAGES
from caebook.training.noise import training_noise, validation_noise
from caebook.training.order import epoch_seed
from caebook.training.shift import shift, training_shift

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 28, 28), dtype=np.uint8)
TRAIN, VALIDATION = IMAGES[:100], IMAGES[100:]
LABELS = np.arange(150, dtype=np.uint8) % 10
RECIPE = Recipe(loss="mse", epochs=2, batch_size=32, train_images=100)
OURS = replace(FAST_RECIPE, epochs=2, batch_size=32, train_images=100)
NOISY = replace(OURS, noise="gaussian-40", shifted=0.5)
STILL = 1e-30  # steps so small that the weights stay the same


class Keras:
    """The networks of these tests in Keras."""

    name, module = "keras", keras_training

    @staticmethod
    def coder(seed=0):
        """A narrow encoder and its decoder."""
        keras.utils.set_random_seed(seed)
        encoder = keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Conv2D(2, 4, strides=4)]
        )
        decoder = keras.Sequential(
            [
                keras.Input((7, 7, 2)),
                layers.Conv2DTranspose(1, 4, strides=4, activation="sigmoid"),
            ]
        )
        return encoder, decoder

    @classmethod
    def autoencoder(cls, seed=0):
        return keras.Sequential(list(cls.coder(seed)))

    @classmethod
    def linear_autoencoder(cls):
        """Without a sigmoid at its end."""
        encoder, _ = cls.coder()
        decoder = layers.Conv2DTranspose(1, 4, strides=4)
        return keras.Sequential([keras.Input((28, 28, 1)), *encoder.layers, decoder])

    @classmethod
    def sigmoid_inside(cls):
        """A layer follows the sigmoid."""
        pixels = keras.Input((28, 28, 1))
        return keras.Sequential([pixels, *cls.coder(), layers.Rescaling(0.5)])

    @classmethod
    def without_bias(cls):
        encoder, _ = cls.coder()
        decoder = layers.Conv2DTranspose(
            1, 4, strides=4, activation="sigmoid", use_bias=False
        )
        return keras.Sequential([keras.Input((28, 28, 1)), *encoder.layers, decoder])

    @staticmethod
    def shift_last_bias(model, value):
        model.layers[-1].layers[-1].bias.assign_add([value])

    @classmethod
    def logits(cls, model, shift):
        """What the last sigmoid gets, with the last bias shifted; (150, 28, 28)."""
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        cls.shift_last_bias(copy, shift)
        output = keras_training.predict(copy, IMAGES).astype(np.float64)[..., 0]
        return np.log(output / (1 - output))

    @staticmethod
    def noisy(seed=0):
        """With dropout and batch normalisation, whose state is more than weights."""
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(2, 4, strides=4),
                layers.BatchNormalization(),
                keras.Sequential([layers.Dropout(0.3)]),
                layers.Conv2DTranspose(1, 4, strides=4, activation="sigmoid"),
            ]
        )

    @staticmethod
    def classifier(seed=0, classes=10):
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(classes)]
        )

    @staticmethod
    def odd():
        """28→14→7→4, an even kernel with "same" padding, LeakyReLU, a ReLU output."""
        encoder = [
            keras.Input((28, 28, 1)),
            layers.Conv2D(3, 3, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            *[layers.MaxPooling2D(2, padding="same") for _ in range(3)],
            layers.Conv2D(2, 3, padding="same", activation="sigmoid"),
        ]
        decoder = [
            keras.Input((4, 4, 2)),
            layers.Conv2D(3, 2, padding="same"),
            layers.Dropout(0.5),
            layers.UpSampling2D(4),
            layers.Conv2D(2, 3),
            layers.UpSampling2D(2),
            layers.Conv2D(1, 2, padding="same", activation="relu"),
        ]
        return keras.Sequential(encoder), keras.Sequential(decoder)

    @staticmethod
    def point():
        """A code of 1 × 1 × 64, and transposed convolutions back."""
        encoder = [
            keras.Input((28, 28, 1)),
            layers.Conv2D(2, 14, strides=2),
            layers.Conv2D(64, 8),
        ]
        decoder = [
            keras.Input((1, 1, 64)),
            layers.Conv2DTranspose(2, 14, strides=2),
            layers.Conv2DTranspose(1, 2, strides=2, activation="sigmoid"),
        ]
        return keras.Sequential(encoder), keras.Sequential(decoder)

    @staticmethod
    def counter():
        """A network that answers with the number of images in its batch."""
        pixels = keras.Input((28, 28, 1))

        def count(values):
            ones = keras.ops.ones_like(values[:, :1, 0, 0])
            return ones * keras.ops.sum(ones)

        return keras.Model(pixels, layers.Lambda(count, output_shape=(1,))(pixels))

    @staticmethod
    def weights(model):
        return [keras.ops.convert_to_numpy(v) for v in model.weights]

    @staticmethod
    def last(values):
        return values

    @staticmethod
    def network(shape, *outputs):
        """A network from `shape` (h, w, c) to each of `outputs`."""
        pixels = keras.Input(shape)
        flat = layers.Flatten()(pixels)
        made = [
            layers.Reshape(output)(layers.Dense(int(np.prod(output)))(flat))
            for output in outputs
        ]
        return keras.Model(pixels, made if len(made) > 1 else made[0])


class Torch:
    """The same networks in PyTorch."""

    name, module = "torch", torch_training

    @staticmethod
    def coder(seed=0):
        torch.manual_seed(seed)
        decoder = nn.Sequential(nn.ConvTranspose2d(2, 1, 4, 4), nn.Sigmoid())
        return nn.Sequential(nn.Conv2d(1, 2, 4, 4)), decoder

    @classmethod
    def autoencoder(cls, seed=0):
        return nn.Sequential(*cls.coder(seed))

    @classmethod
    def linear_autoencoder(cls):
        encoder, decoder = cls.coder()
        return nn.Sequential(encoder, decoder[0])

    @classmethod
    def sigmoid_inside(cls):
        return nn.Sequential(*cls.coder(), nn.Hardtanh(0, 0.5))

    @classmethod
    def without_bias(cls):
        encoder, _ = cls.coder()
        decoder = nn.ConvTranspose2d(2, 1, 4, 4, bias=False)
        return nn.Sequential(encoder, decoder, nn.Sigmoid())

    @staticmethod
    def shift_last_bias(model, value):
        with torch.no_grad():
            model[1][0].bias += value

    @staticmethod
    def logits(model, shift):
        up_to_logits = nn.Sequential(model[0], model[1][0])
        return torch_training.predict(up_to_logits, IMAGES)[:, 0] + shift

    @staticmethod
    def noisy(seed=0):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 2, 4, 4),
            nn.BatchNorm2d(2),
            nn.Sequential(nn.Dropout(0.3)),
            nn.ConvTranspose2d(2, 1, 4, 4),
            nn.Sigmoid(),
        )

    @staticmethod
    def classifier(seed=0, classes=10):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))

    @staticmethod
    def odd():
        encoder = [
            nn.Conv2d(1, 3, 3, padding=1),
            nn.LeakyReLU(0.2),
            *[nn.MaxPool2d(2, ceil_mode=True) for _ in range(3)],
            nn.Conv2d(3, 2, 3, padding=1),
            nn.Sigmoid(),
        ]
        decoder = [
            nn.Conv2d(2, 3, 2, padding="same"),
            nn.Dropout(0.5),
            nn.Upsample(scale_factor=4),
            nn.Conv2d(3, 2, 3),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2, 1, 2, padding="same"),
            nn.ReLU(),
        ]
        nn.init.constant_(decoder[-2].bias, 0.5)  # else the ReLU may well be dead
        return nn.Sequential(*encoder), nn.Sequential(*decoder)

    @staticmethod
    def point():
        encoder = [nn.Conv2d(1, 2, 14, stride=2), nn.Conv2d(2, 64, 8)]
        decoder = [
            nn.ConvTranspose2d(64, 2, 14, stride=2),
            nn.ConvTranspose2d(2, 1, 2, stride=2),
            nn.Sigmoid(),
        ]
        return nn.Sequential(*encoder), nn.Sequential(*decoder)

    @staticmethod
    def counter():
        class Counter(nn.Module):
            def forward(self, pixels):
                return torch.full((len(pixels), 1), float(len(pixels)))

        return Counter()

    @staticmethod
    def weights(model):
        return [value.detach().numpy().copy() for value in model.state_dict().values()]

    @staticmethod
    def last(values):
        """Channels first → channels last."""
        return np.moveaxis(values, 1, -1)

    @staticmethod
    def network(shape, *outputs):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                sizes = [int(np.prod(output)) for output in outputs]
                self.heads = nn.ModuleList(
                    nn.Linear(int(np.prod(shape)), size) for size in sizes
                )

            def forward(self, pixels):
                made = [
                    head(pixels.flatten(1)).reshape(-1, *output[-1:], *output[:-1])
                    for head, output in zip(self.heads, outputs, strict=True)
                ]
                return made if len(made) > 1 else made[0]

        return Network()


frameworks = pytest.mark.parametrize("on", [Keras, Torch], ids=lambda on: on.name)


def train(on, model, recipe=RECIPE, **options):
    """Fit on the first 100 images, validate on the other 50."""
    options = {"validation": VALIDATION, **options}
    return on.module.fit(model, TRAIN, recipe, **options)


def same(ours, theirs) -> bool:
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


# --- the same numbers again -------------------------------------------------------


@frameworks
def test_numbers_depend_on_the_seeds_alone(on):
    recipe = replace(RECIPE, epochs=1)

    def numbers(seed, network_seed=0):
        model = on.noisy(network_seed)
        history = train(on, model, recipe, seed=seed)
        return [*history.loss, *history.val_loss, *map(np.sum, on.weights(model))]

    first = numbers(0)
    assert numbers(0) == first
    others = [numbers(1), numbers(2**33), numbers(0, network_seed=1)]
    assert len({loss for loss, *_ in [first, *others]}) == 4


def test_order_and_seeds_are_the_same_in_another_process():
    program = (
        "from caebook.training.order import batches, epoch_seed; "
        "print([b.tolist() for b in batches(100, 32, 2**33, 1)], epoch_seed(2**33, 1))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert there.returncode == 0, there.stderr
    order = [batch.tolist() for batch in training.batches(100, 32, 2**33, 1)]
    assert there.stdout.strip() == f"{order} {epoch_seed(2**33, 1)}"


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_batches_hold_every_image_once(count):
    epochs = [list(training.batches(count, 32, 0, epoch)) for epoch in range(2)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(count))
        assert [len(batch) for batch in epoch[:-1]] == [32] * (len(epoch) - 1)
    again = list(training.batches(count, 32, 0, 1))
    assert same(again, epochs[1])
    if count > 1:
        assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


class Recorder(layers.Layer):
    """Shows what a Keras network is trained on to `see`."""

    def __init__(self, see):
        super().__init__()
        self.see = see

    def call(self, inputs, training=False):
        if training:
            tf.py_function(lambda batch: self.see(batch.numpy()), [inputs], [])
        return inputs


def test_both_frameworks_see_the_same_batches_in_the_same_order():
    images = np.zeros((100, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(100)
    in_keras, in_torch = [], []
    start = [keras.Input((28, 28, 1)), Recorder(in_keras.append)]
    model = keras.Sequential([*start, *Keras.coder()])
    Keras.module.fit(model, images, RECIPE, validation=VALIDATION, seed=5)
    model = Torch.autoencoder()

    def see(module, inputs):
        if module.training:
            in_torch.append(inputs[0].numpy())

    model.register_forward_pre_hook(see)
    Torch.module.fit(model, images, RECIPE, validation=VALIDATION, seed=5)
    expected = [
        index for epoch in (0, 1) for index in training.batches(100, 32, 5, epoch)
    ]
    for seen in (in_keras, in_torch):
        numbers = [np.rint(255 * batch[:, 0, 0, 0]).astype(int) for batch in seen]
        assert same(numbers, expected)


# --- losses -----------------------------------------------------------------------


@frameworks
@pytest.mark.parametrize("loss", ["bce", "mse", "crossentropy"])
def test_losses_are_what_their_definition_says(on, loss):
    recipe = replace(RECIPE, loss=loss, learning_rate=STILL, epochs=1)
    if loss == "crossentropy":
        model = on.classifier()
        labels = {"labels": LABELS[:100], "validation_labels": LABELS[100:]}
    else:
        model, labels = on.autoencoder(), {}
    before = on.weights(model)
    history = train(on, model, recipe, **labels)
    for now, then in zip(on.weights(model), before, strict=True):
        assert np.allclose(now, then, rtol=0, atol=1e-20)
    output = on.module.predict(model, IMAGES).astype(np.float64)
    target = IMAGES / 255
    if loss == "crossentropy":
        powers = np.exp(output)
        chosen = powers[np.arange(150), LABELS] / powers.sum(axis=1)
        per_image = -np.log(chosen)
    else:
        output = on.last(output)[..., 0]
        errors = {
            "mse": (output - target) ** 2,
            "bce": -target * np.log(output) - (1 - target) * np.log(1 - output),
        }[loss]
        per_image = errors.mean(axis=(1, 2))
    # the last batch holds 4 of 100 images: a mean of batch means would be another
    assert history.loss == pytest.approx([per_image[:100].mean()], rel=1e-5)
    assert history.val_loss == pytest.approx([per_image[100:].mean()], rel=1e-5)
    assert all(seconds > 0 for seconds in history.seconds)


@frameworks
def test_loss_on_logits_is_exact_where_the_sigmoid_is_rounded(on):
    """There, the logarithm of 1 - s would be infinite, or clipped."""
    model = on.autoencoder()
    on.shift_last_bias(model, 150.0)
    recipe = replace(OURS, learning_rate=STILL, epochs=1, initial_bias=None)
    history = train(on, model, recipe)
    assert on.module.predict(model, VALIDATION).min() == 1.0  # the sigmoid is back
    target = IMAGES / 255
    # -t log s - (1 - t) log(1 - s) of a logit z that is large: (1 - t) z
    logits = 150 + on.logits(model, shift=-150.0)
    per_image = ((1 - target) * logits).mean(axis=(1, 2))
    assert history.loss == pytest.approx([per_image[:100].mean()], rel=1e-5)
    assert history.val_loss == pytest.approx([per_image[100:].mean()], rel=1e-5)


@frameworks
@pytest.mark.parametrize("noise", ["gaussian-40", "block", "blur"])
def test_a_denoiser_sees_noise_and_is_compared_with_the_clean_image(on, noise):
    recipe = replace(RECIPE, noise=noise, learning_rate=STILL, epochs=2)
    model = on.autoencoder()
    history = train(on, model, recipe, seed=3)

    def error(images, noisy):
        output = on.last(on.module.predict(model, noisy)).astype(np.float64)
        return ((output[..., 0] - images / 255) ** 2).sum() / 784

    losses = []
    for epoch in (0, 1):
        noisy = training_noise(noise, 3, epoch)
        parts = training.batches(100, 32, 3, epoch)
        losses.append(sum(error(TRAIN[i], noisy(TRAIN[i])) for i in parts) / 100)
    assert history.loss == pytest.approx(losses, rel=1e-5)
    assert (losses[0] == pytest.approx(losses[1], rel=1e-9)) == (noise == "blur")
    held_out = error(VALIDATION, validation_noise(noise, 3)(VALIDATION)) / 50
    assert history.val_loss == pytest.approx([held_out] * 2, rel=1e-5)


@frameworks
def test_shifted_images_are_what_the_network_sees_and_its_target(on):
    recipe = replace(RECIPE, shifted=0.5, learning_rate=STILL, epochs=2)
    model = on.autoencoder()
    history = train(on, model, recipe, seed=3)

    def error(images):
        output = on.last(on.module.predict(model, images)).astype(np.float64)
        return ((output[..., 0] - images / 255) ** 2).sum() / 784

    losses = []
    for epoch in (0, 1):
        shifted = training_shift(0.5, 3, epoch)
        parts = training.batches(100, 32, 3, epoch)
        losses.append(sum(error(shifted(TRAIN[i])) for i in parts) / 100)
    assert history.loss == pytest.approx(losses, rel=1e-5)
    assert losses[0] != losses[1]
    assert history.val_loss == pytest.approx([error(VALIDATION) / 50] * 2, rel=1e-5)


def test_a_shift_moves_images_by_at_most_a_pixel_and_brings_in_black():
    image = np.random.default_rng(0).integers(1, 256, (28, 28), np.uint8)
    framed = np.pad(image, 1)
    moves = [
        framed[row : row + 28, column : column + 28].tobytes()
        for row in range(3)
        for column in range(3)
    ]
    images = np.repeat(image[None], 2000, axis=0)
    before = images.copy()
    shifted = shift(images, 0.5, np.random.default_rng(1))
    assert (images == before).all()
    counts = Counter(moved.tobytes() for moved in shifted)
    assert set(counts) == set(moves)
    # Half stay, and a ninth of the other half moves by (0, 0).
    assert counts.pop(moves[4]) / 2000 == pytest.approx(0.5 + 0.5 / 9, abs=0.05)
    expected = 2000 * 0.5 / 9
    assert all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())


@frameworks
def test_network_keeps_its_sigmoid_after_a_loss_on_logits(on):
    model = on.noisy()
    history = train(on, model, OURS)
    output = on.last(on.module.predict(model, VALIDATION))[..., 0].astype(np.float64)
    target = VALIDATION / 255
    bce = -target * np.log(output) - (1 - target) * np.log(1 - output)
    assert history.val_loss[-1] == pytest.approx(bce.mean(), rel=1e-5)
    if on is Keras:  # which keeps what it compiled for training
        batch = keras_training.to_tensor(VALIDATION)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*from_logits")
            loss = model.evaluate(batch, batch, verbose=0)
        assert loss == pytest.approx(bce.mean(), rel=1e-5)
    else:
        assert not any(layer._forward_pre_hooks for layer in model.modules())


@frameworks
@pytest.mark.parametrize("sigmoid", [True, False])
def test_training_starts_at_the_mean_pixel(on, sigmoid):
    recipe = Recipe(
        loss="bce" if sigmoid else "mse",
        initial_bias="mean-pixel",
        learning_rate=STILL,
        train_images=100,
    )
    model = on.autoencoder() if sigmoid else on.linear_autoencoder()
    before = on.weights(model)
    train(on, model, recipe)
    *others, bias = on.weights(model)
    for now, then in zip(others, before, strict=False):
        assert np.allclose(now, then, rtol=0, atol=1e-20)
    mean = TRAIN.mean() / 255
    expected = np.log(mean / (1 - mean)) if sigmoid else mean
    assert bias == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", [0, 255])
def test_start_at_the_mean_pixel_of_uniform_images_is_finite(level):
    images = np.full((10, 28, 28), level, np.uint8)
    assert abs(mean_pixel_bias(images, sigmoid=True)) == pytest.approx(9.21, abs=0.01)


@frameworks
def test_unsuitable_networks_are_not_trained_by_ours(on, capsys):
    on_logits = replace(OURS, initial_bias=None)
    from_mean = replace(OURS, logits=False)
    hidden = on.sigmoid_inside()
    for model, recipe, message in (
        (on.linear_autoencoder(), on_logits, "on logits, so the network must end"),
        (hidden, on_logits, "on logits, so the network must end"),
        (on.without_bias(), from_mean, "last layer with weights has no bias"),
    ):
        before = on.weights(model)
        with pytest.raises(ValueError, match=message):
            train(on, model, recipe)
        assert same(on.weights(model), before)
    assert "epoch" not in capsys.readouterr().out


@frameworks
def test_validation_is_without_dropout(on):
    recipe = replace(RECIPE, learning_rate=STILL, epochs=1)
    model = on.noisy()
    history = train(on, model, recipe)
    output = on.last(on.module.predict(model, VALIDATION))[..., 0]
    expected = np.mean((output - VALIDATION / 255) ** 2)
    assert history.val_loss == pytest.approx([expected], rel=1e-5)


@frameworks
def test_training_lowers_the_loss_and_prints_it(on, capsys):
    recipe = replace(RECIPE, epochs=3, learning_rate=0.01)
    history = train(on, on.autoencoder(), recipe)
    assert history.loss[0] > history.loss[1] > history.loss[2]
    lines = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in shown] == ["1/3", "2/3", "3/3"]
    assert f"val_loss {history.val_loss[2]:.4f}" in shown[2]


# --- schedules --------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine"])
def test_schedule_is_what_its_definition_says(schedule):
    """2 epochs of 4 batches, the last of them small, and one of 1,001 steps."""
    recipe = replace(RECIPE, schedule=schedule, learning_rate=0.5)
    assert recipe.epochs * -(-recipe.train_images // recipe.batch_size) == 8
    few = [training.learning_rate(recipe, step) for step in range(8)]
    many = replace(recipe, epochs=1, batch_size=1, train_images=1_001)
    rates = np.array([training.learning_rate(many, step) for step in range(1_001)])
    top = {"constant": 0, "one-cycle": 300, "cosine": 0}[schedule]
    if schedule == "constant":
        assert set(few) == {0.5} and (rates == 0.5).all()
        return
    assert rates[top] == pytest.approx(0.5) and rates.argmax() == top
    warm_up = np.linspace(0.5 / 25, 0.5, top + 1)
    assert rates[:top] == pytest.approx(warm_up[:-1])
    middle = (1_000 + top) // 2
    assert rates[middle] == pytest.approx(0.5 * (1 + 1e-4) / 2)
    quarter = (1_000 + 3 * top) // 4
    share = (1 + np.cos(np.pi / 4)) / 2
    assert rates[quarter] == pytest.approx(0.5 * (1e-4 + (1 - 1e-4) * share))
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == few[-1] == pytest.approx(0.5e-4)
    assert few[0] == rates[0]


def test_a_single_step_has_a_learning_rate():
    for schedule in ("one-cycle", "cosine"):
        recipe = Recipe(schedule=schedule, batch_size=100, train_images=100)
        assert 0 < training.learning_rate(recipe, 0) <= recipe.learning_rate


def test_torch_follows_ours_as_a_loop_by_hand_does():
    model, by_hand = Torch.autoencoder(), Torch.autoencoder()
    history = train(Torch, model, OURS, seed=1)
    mean = TRAIN.mean() / 255
    nn.init.constant_(by_hand[1][0].bias, np.log(mean / (1 - mean)))
    optimizer = torch.optim.Adam(by_hand.parameters())
    up_to_logits = nn.Sequential(by_hand[0], by_hand[1][0])
    step, losses = 0, []
    for epoch in range(2):
        for index in training.batches(100, 32, 1, epoch):
            optimizer.param_groups[0]["lr"] = training.learning_rate(OURS, step)
            batch = torch_training.to_tensor(TRAIN[index])
            loss = nn.BCEWithLogitsLoss()(up_to_logits(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() * len(index))
            step += 1
    assert step == 8
    means = [sum(losses[:4]) / 100, sum(losses[4:]) / 100]
    assert history.loss == pytest.approx(means, rel=1e-6)
    pairs = zip(Torch.weights(model), Torch.weights(by_hand), strict=True)
    for ours, theirs in pairs:
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "recipe",
    [OURS, replace(OURS, schedule="cosine", logits=False), RECIPE, NOISY],
    ids=["ours", "cosine", "plain", "noisy"],
)
def test_both_frameworks_train_alike_from_the_same_weights(recipe, monkeypatch):
    """But for ε, which Adam adds at another place in Keras: without it, equal."""
    monkeypatch.setattr(torch.optim, "Adam", partial(torch.optim.Adam, eps=1e-20))
    adam = partial(keras.optimizers.Adam, epsilon=1e-20)
    monkeypatch.setattr(keras.optimizers, "Adam", adam)
    in_torch, in_keras = Torch.coder(), Keras.coder()
    like_torch(in_keras, in_torch)
    models = {Torch: nn.Sequential(*in_torch), Keras: keras.Sequential(list(in_keras))}
    histories = {on: train(on, model, recipe) for on, model in models.items()}
    for losses in ("loss", "val_loss"):
        ours, theirs = (getattr(history, losses) for history in histories.values())
        assert ours == pytest.approx(theirs, rel=2e-6)
    assert histories[Torch].loss[1] < histories[Torch].loss[0]
    pixels = [on.last(on.module.predict(m, VALIDATION)) for on, m in models.items()]
    assert np.allclose(*pixels, rtol=0, atol=1e-5)


# --- memory -----------------------------------------------------------------------


@frameworks
def test_fit_and_predict_cast_batch_by_batch(on):
    images = np.zeros((8_000, 28, 28), np.uint8)
    labels = np.zeros(8_000, np.uint8)
    model = on.classifier()
    recipe = Recipe("adam", 1e-3, "constant", "crossentropy", 1, 100, 8_000)

    def train():
        held_out = {"validation": images, "validation_labels": labels}
        return on.module.fit(model, images, recipe, labels=labels, **held_out)

    for work in (train, lambda: on.module.predict(model, images)):
        tracemalloc.start()
        try:
            work()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < images.nbytes  # as floats they are four times as large


@frameworks
@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (201, None)])
def test_predict_works_in_batches(on, count, batch_size):
    options = {} if batch_size is None else {"batch_size": batch_size}
    answers = on.module.predict(on.counter(), IMAGES.repeat(2, 0)[:count], **options)
    size = batch_size or 100
    whole = count // size
    assert answers.ravel().tolist() == [size] * (size * whole) + [count - size * whole]


# --- invalid input ----------------------------------------------------------------


FLOATS = TRAIN.astype(np.float32) / 255
CLASSES = {"labels": LABELS[:100], "validation_labels": LABELS[100:]}
CROSS = replace(RECIPE, loss="crossentropy")
WRONG_INPUT = {
    "floats": (FLOATS, RECIPE, {}, TypeError, r"images .* not float32"),
    "list": (TRAIN.tolist(), RECIPE, {}, TypeError, "images .* not list"),
    "channel axis": (TRAIN[..., None], RECIPE, {}, TypeError, r"\(100, 28, 28, 1\)"),
    "other size": (TRAIN[:, 2:], RECIPE, {}, TypeError, r"\(100, 26, 28\)"),
    "empty": (TRAIN[:0], RECIPE, {}, ValueError, "images .* at least one"),
    "too few": (TRAIN[:60], RECIPE, {}, ValueError, "100 training images.*60"),
    "validation floats": (
        *(TRAIN, RECIPE, {"validation": FLOATS}),
        *(TypeError, "validation .* float32"),
    ),
    "validation empty": (
        *(TRAIN, RECIPE, {"validation": TRAIN[:0]}),
        *(ValueError, "validation .* at least one"),
    ),
    "labels not wanted": (TRAIN, RECIPE, CLASSES, ValueError, "'mse'.*labels"),
    "no labels": (TRAIN, CROSS, {}, ValueError, "images come without labels"),
    "no validation labels": (
        *(TRAIN, CROSS, {"labels": LABELS[:100]}),
        *(ValueError, "validation come without labels"),
    ),
    "too few labels": (
        *(TRAIN, CROSS, {**CLASSES, "labels": LABELS[:99]}),
        *(ValueError, "labels of images .* 100"),
    ),
    "one-hot labels": (
        *(TRAIN, CROSS, {**CLASSES, "labels": np.eye(10, dtype=int)[LABELS[:100]]}),
        *(ValueError, "labels of images"),
    ),
    "float labels": (
        *(TRAIN, CROSS, {**CLASSES, "validation_labels": LABELS[100:] / 1}),
        *(ValueError, "labels of validation"),
    ),
    "negative labels": (
        *(TRAIN, CROSS, {**CLASSES, "labels": LABELS[:100].astype(int) - 1}),
        *(ValueError, "from 0 up"),
    ),
    "labels beyond the outputs": (
        *(TRAIN, CROSS, {**CLASSES, "labels": LABELS[:100] + 1}),
        *(ValueError, "10 outputs.*labels up to 10"),
    ),
}


@frameworks
@pytest.mark.parametrize("case", WRONG_INPUT)
def test_invalid_input_is_refused_before_any_training(on, case, capsys):
    images, recipe, options, error, message = WRONG_INPUT[case]
    classify = recipe.loss == "crossentropy"
    model = on.classifier() if classify else on.autoencoder()
    before = on.weights(model)
    with pytest.raises(error, match=message):
        on.module.fit(model, images, recipe, **{"validation": VALIDATION, **options})
    assert same(on.weights(model), before)
    assert "epoch" not in capsys.readouterr().out


@frameworks
@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([(9, 9, 1)], "shape .*28.*not .*9, 9"),
        ([(1, 1, 1)], "shape .*28.*not .*1, 1"),  # would broadcast, silently
        ([(28, 28, 3)], "shape .*28.*not"),
        ([(28, 28, 1), (28, 28, 1)], "one array, not list"),
    ],
)
def test_a_network_whose_output_is_not_an_image_is_refused(on, outputs, message):
    with pytest.raises(ValueError, match=message):
        train(on, on.network((28, 28, 1), *outputs))


@frameworks
def test_a_network_with_another_input_shape_is_refused(on):
    with pytest.raises(ValueError, match="cannot be trained on these images"):
        train(on, on.network((14, 14, 1), (28, 28, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"schedule": "linear"},
        {"loss": "mae"},
        {"precision": "float16"},
        {"epochs": 0},
        {"batch_size": 0},
        {"batch_size": 32.0},
        {"train_images": -1},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": True},
        {"initial_bias": "zero"},
        {"logits": 1},
        {"distortion_weight": 0},
        {"noise": "snow"},
        {"shifted": 0.0},
        {"shifted": 1.5},
    ],
)
def test_invalid_recipe_is_refused_by_field(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"^{name}: must be .*, not {value!r}$"):
        replace(RECIPE, **change)
    with pytest.raises(ValueError, match=r"must be 'bce', .* or 'rate'"):
        Recipe(loss="mae")


def test_contradicting_fields_of_a_recipe_are_refused():
    for loss in ("mse", "crossentropy"):
        with pytest.raises(ValueError, match=f"^logits: must be False .*{loss}"):
            Recipe(loss=loss, logits=True)
    with pytest.raises(ValueError, match=r"^initial_bias: must be None .*mean-pixel"):
        Recipe(loss="crossentropy", initial_bias="mean-pixel")
    with pytest.raises(ValueError, match=r"^noise: must be None .*'blur'"):
        Recipe(loss="crossentropy", noise="blur")


def test_a_recipes_text_names_later_fields_where_they_are_used():
    text = repr(FAST_RECIPE)
    assert "initial_bias='mean-pixel'" in text and "logits=True" in text
    assert eval(text) == FAST_RECIPE
    assert repr(replace(FAST_RECIPE, initial_bias=None, logits=False)) != text


def test_a_recipes_text_stays_the_same():
    """Checkpoints of earlier trainings are identified by it."""
    assert repr(Recipe()) == (
        "Recipe(optimizer='adam', learning_rate=0.001, schedule='constant', "
        "loss='bce', epochs=1, batch_size=128, train_images=60000, "
        "precision='float32')"
    )


# --- checkpoints ------------------------------------------------------------------


@frameworks
@pytest.mark.parametrize(
    "recipe", [RECIPE, OURS, NOISY], ids=["plain", "ours", "noisy"]
)
def test_resumed_training_equals_uninterrupted(
    on, recipe, tmp_path, monkeypatch, capsys
):
    recipe = replace(recipe, epochs=3, learning_rate=0.01)
    paths = [tmp_path / "whole.npz", tmp_path / "new folder" / "parts.npz"]
    whole = on.noisy()
    expected = train(on, whole, recipe, seed=3, checkpoint=paths[0])

    def interrupting(count, size, seed, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return training.batches(count, size, seed, epoch)

    with monkeypatch.context() as patched:
        patched.setattr(on.module, "batches", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(on, on.noisy(), recipe, seed=3, checkpoint=paths[1])
    model = on.noisy()
    capsys.readouterr()
    history = train(on, model, recipe, seed=3, checkpoint=paths[1])
    output = capsys.readouterr().out
    assert "resuming after epoch 2" in output and "epoch 1/3" not in output
    assert (history.loss, history.val_loss) == (expected.loss, expected.val_loss)
    assert len(history.seconds) == 3
    assert same(on.weights(model), on.weights(whole))
    # what the files hold: the weights, and Adam's moments and step count
    ours, theirs = (dict(np.load(path)) for path in paths)
    assert ours.pop("about") != theirs.pop("about")  # these took other times
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("optimizer/") for name in ours)
    assert same(list(ours.values()), list(theirs.values()))


@frameworks
def test_finished_training_is_not_repeated(on, tmp_path, capsys):
    path = tmp_path / "run.npz"
    model = on.autoencoder()
    history = train(on, model, checkpoint=path)
    capsys.readouterr()
    again = on.autoencoder()
    assert train(on, again, checkpoint=str(path)) == history
    assert same(on.weights(again), on.weights(model))
    assert "epoch 1/" not in capsys.readouterr().out


@frameworks
def test_checkpoint_of_another_training_is_ignored(on, tmp_path, capsys):
    path, recipe = tmp_path / "run.npz", replace(RECIPE, epochs=1)
    train(on, on.autoencoder(), recipe, checkpoint=path)
    saved = path.read_bytes()
    others = {
        "seed": (on.autoencoder(), recipe, {"seed": 1}),
        "recipe": (on.autoencoder(), replace(recipe, learning_rate=0.5), {}),
        "weights": (on.autoencoder(seed=1), recipe, {}),
        "network": (on.noisy(), recipe, {}),
        "validation": (on.autoencoder(), recipe, {"validation": 255 - VALIDATION}),
    }
    for model, other, options in others.values():
        path.write_bytes(saved)
        capsys.readouterr()
        history = train(on, model, other, checkpoint=path, **options)
        output = capsys.readouterr().out
        assert "run.npz is of another training" in output and "epoch 1/1" in output
        assert len(history.loss) == 1


def test_identity_depends_on_values_shapes_and_types(tmp_path):
    identities = [
        (np.arange(6.0), "text"),
        (np.arange(6.0) + 1, "text"),
        (np.arange(6.0).reshape(2, 3), "text"),
        (np.arange(6.0).view(np.int64), "text"),
        (np.arange(6.0), "other"),
        (np.arange(6.0), None),
    ]
    prints = [Checkpoint(tmp_path / "a", *parts).fingerprint for parts in identities]
    again = [Checkpoint(tmp_path / "b", *parts).fingerprint for parts in identities]
    assert prints == again and len(set(prints)) == len(identities)


def saved_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint of two epochs on disk."""
    checkpoint = Checkpoint(path, "a training")
    state = {"model/0": np.arange(1_000.0), "optimizer/0": np.ones(10)}
    checkpoint.save(History([0.2, 0.1], [0.3, 0.2], [1.0, 1.0]), state)
    return checkpoint


def test_checkpoint_returns_what_was_saved(tmp_path, capsys):
    history, state = saved_checkpoint(tmp_path / "a.npz").load()
    assert history == History([0.2, 0.1], [0.3, 0.2], [1.0, 1.0])
    assert same(state["model/0"], np.arange(1_000.0)) and len(state) == 2
    assert "resuming after epoch 2 from a.npz" in capsys.readouterr().out


def test_without_a_path_there_is_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(None, TRAIN)
    checkpoint.save(History([1.0], [1.0], [1.0]), {"model/0": np.ones(1)})
    assert checkpoint.load() is None and list(tmp_path.iterdir()) == []


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a checkpoint",
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: flip(content, len(content) // 2),
        lambda content: flip(content, 0),
        lambda content: flip(content, len(content) - 40),
    ],
    ids="empty text start all-but-one half value header directory".split(),
)
def test_damaged_checkpoint_is_named(tmp_path, damage):
    path = tmp_path / "deep.npz"
    checkpoint = saved_checkpoint(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"deep\.npz is damaged.*delete it"):
        checkpoint.load()


@pytest.mark.parametrize(
    "about",
    [
        None,
        "{",
        "[]",
        "{}",
        '{"fingerprint": 1, "history": {"losses": []}}',
        '{"fingerprint": 1, "history": {"loss": [1], "val_loss": [], "seconds": []}}',
    ],
)
def test_checkpoint_with_other_contents_is_damaged(tmp_path, about):
    path = tmp_path / "deep.npz"
    checkpoint = saved_checkpoint(path)
    fields = {} if about is None else {"about": np.array(about)}
    np.savez(path, **fields, x=np.ones(1))
    with pytest.raises(CheckpointError, match=r"deep\.npz is damaged"):
        checkpoint.load()


def test_checkpoint_runs_no_code(tmp_path):
    path = tmp_path / "deep.npz"
    checkpoint = saved_checkpoint(path)
    np.savez(path, about=np.array([print], dtype=object))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load()


@frameworks
def test_damaged_checkpoint_stops_fit(on, tmp_path):
    path = tmp_path / "deep.npz"
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"deep\.npz"):
        train(on, on.autoencoder(), checkpoint=path)
    assert path.read_bytes() == b"damaged"


def test_checkpoint_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    checkpoint = Checkpoint(tmp_path / "file" / "deep.npz", "a training")
    with pytest.raises(WriteError, match=r"deep\.npz: cannot be written"):
        checkpoint.save(History([1.0], [1.0], [1.0]), {"model/0": np.ones(5)})


# --- the ONNX boundary ------------------------------------------------------------


CODES = {"odd": (4, 4, 2), "point": (1, 1, 64)}


def like_torch(keras_models, torch_models) -> None:
    """Give Keras networks the weights of PyTorch ones, layer by layer."""
    for theirs, ours in zip(torch_models, keras_models, strict=True):
        sources = [module for module in theirs if hasattr(module, "weight")]
        targets = [layer for layer in ours.layers if layer.weights]
        for source, target in zip(sources, targets, strict=True):
            # (out, in, h, w), or (in, out, h, w) if transposed → (h, w, …) reversed
            kernel = source.weight.detach().numpy().transpose(2, 3, 1, 0)
            target.set_weights([kernel, source.bias.detach().numpy()])


@pytest.fixture(scope="module", params=CODES)
def pair(request):
    """Networks with the same weights in both frameworks, with what they export to."""
    torch.manual_seed(0)
    models = {on: getattr(on, request.param)() for on in (Keras, Torch)}
    like_torch(models[Keras], models[Torch])
    exported = {on: on.module.export(*models[on], IMAGES) for on in models}
    return CODES[request.param], models, exported


def infer(model: bytes, name: str, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    source, target = BOUNDARY[name]
    return session.run([target], {source: values})[0]


def dims(value: onnx.ValueInfoProto) -> tuple:
    shape = value.type.tensor_type.shape.dim
    return tuple(dim.dim_param or dim.dim_value for dim in shape)


@frameworks
def test_names_and_dimensions_at_the_boundary(pair, on):
    code, _, exported = pair
    images = ("N", 28, 28)
    expected = {
        "encoder": [("images", images), ("code", ("N", *code))],
        "decoder": [("code", ("N", *code)), ("images", images)],
    }
    assert exported[on].models.keys() == expected.keys()
    for name, content in exported[on].models.items():
        graph = onnx.load_from_string(content).graph
        ends = [*graph.input, *graph.output]
        assert [(end.name, dims(end)) for end in ends] == expected[name]
        floats = onnx.TensorProto.FLOAT
        assert all(end.type.tensor_type.elem_type == floats for end in ends)


@frameworks
@pytest.mark.parametrize("count", [1, 7, 500])
def test_onnx_runtime_agrees_with_the_framework(pair, on, count):
    code, models, exported = pair
    images = np.resize(IMAGES, (count, 28, 28))
    encoder, decoder = models[on]
    expected = on.last(on.module.predict(encoder, images))
    ours = infer(exported[on].models["encoder"], "encoder", to_float(images))
    assert ours.shape == (count, *code)
    assert np.abs(ours - expected).max() <= 1e-5
    decoded = infer(exported[on].models["decoder"], "decoder", expected)
    if on is Keras:
        theirs = decoder.predict(expected, batch_size=100, verbose=0)
    else:
        with torch.no_grad():
            first = np.ascontiguousarray(np.moveaxis(expected, -1, 1))
            theirs = decoder(torch.from_numpy(first)).numpy()
    assert decoded.shape == (count, 28, 28)
    assert np.abs(decoded - theirs.reshape(decoded.shape)).max() <= 1e-5


def test_same_weights_same_code_from_both_frameworks(pair):
    _, _, exported = pair
    pixels = to_float(IMAGES[:20])
    codes, decoded = [], []
    for on in (Keras, Torch):
        models = exported[on].models
        codes.append(infer(models["encoder"], "encoder", pixels))
        decoded.append(infer(models["decoder"], "decoder", codes[0]))
    assert np.ptp(codes[0]) > 0.01 and np.ptp(decoded[0]) > 0.01
    assert np.abs(codes[0] - codes[1]).max() <= 1e-5
    assert np.abs(decoded[0] - decoded[1]).max() <= 1e-5


@frameworks
def test_exported_probe_and_parameters(pair, on):
    code, models, exported = pair
    ours = exported[on]
    assert (ours.framework, len(ours.probe)) == (on.name, PROBE_IMAGES)
    assert np.array_equal(ours.probe, IMAGES[:PROBE_IMAGES])
    assert ours.outputs["encoder"].shape == (len(ours.probe), *code)
    assert ours.outputs["decoder"].shape == ours.probe.shape
    counts = [on.module.count_parameters(model) for model in models[on]]
    assert ours.parameters == dict(
        zip(("total", "encoder", "decoder"), [sum(counts), *counts], strict=True)
    )
    assert counts == [sum(w.size for w in on.weights(model)) for model in models[on]]


@frameworks
def test_nothing_of_this_machine_is_in_the_files(pair, on):
    _, _, exported = pair
    machine = [str(Path.home()), os.getcwd(), sys.prefix, tempfile.gettempdir()]
    for content in exported[on].models.values():
        for trace in [*machine, "site-packages", ".py", "caebook"]:
            assert len(trace) < 2 or trace.encode() not in content
        proto = onnx.load_from_string(content)
        assert not proto.metadata_props and not proto.functions and not proto.doc_string
        assert not any(n.doc_string or n.metadata_props for n in proto.graph.node)


@frameworks
def test_exporting_changes_no_weight_and_needs_one_image_only(on):
    encoder, decoder = on.coder()
    before = on.weights(encoder) + on.weights(decoder)
    exported = on.module.export(encoder, decoder, IMAGES[:1])
    assert same(on.weights(encoder) + on.weights(decoder), before)
    pixels = to_float(IMAGES[:7])
    assert infer(exported.models["encoder"], "encoder", pixels).shape == (7, 7, 7, 2)


@frameworks
def test_classifier_at_the_boundary(on):
    model = on.classifier()
    exported = on.module.export_classifier(model, IMAGES)
    assert list(exported.models) == ["classifier"]
    graph = onnx.load_from_string(exported.models["classifier"]).graph
    ends = [(end.name, dims(end)) for end in (*graph.input, *graph.output)]
    assert ends == [("images", ("N", 28, 28)), ("probabilities", ("N", 10))]
    logits = on.module.predict(model, IMAGES).astype(float)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    pixels = to_float(IMAGES)
    ours = infer(exported.models["classifier"], "classifier", pixels)
    assert np.abs(ours - expected).max() <= 1e-5
    assert np.abs(exported.outputs["classifier"] - expected[:16]).max() <= 1e-5
    assert exported.parameters == {"total": 7_850, "encoder": None, "decoder": None}


PIXELS = (28, 28, 1)
WRONG_CODERS = {
    "flat code": ([PIXELS, (16,)], [(16,), PIXELS], "code must have the shape"),
    "two codes": ([PIXELS, (2, 2, 4), (2, 2, 4)], [(2, 2, 4), PIXELS], "one array"),
    "other images": ([(14, 14, 1), (2, 2, 4)], [(2, 2, 4), PIXELS], "encoder cannot"),
    "other code": ([PIXELS, (2, 2, 4)], [(2, 2, 5), PIXELS], "decoder cannot"),
    "small output": ([PIXELS, (2, 2, 4)], [(2, 2, 4), (15, 15, 1)], "15, 15"),
    "colours": ([PIXELS, (2, 2, 4)], [(2, 2, 4), (28, 28, 3)], "output must have"),
    "two outputs": ([PIXELS, (2, 2, 4)], [(2, 2, 4), PIXELS, PIXELS], "one array"),
}


@frameworks
@pytest.mark.parametrize("case", WRONG_CODERS)
def test_unsuitable_networks_are_not_exported(on, case):
    encoder, decoder, message = WRONG_CODERS[case]
    with pytest.raises(ValueError, match=message):
        on.module.export(on.network(*encoder), on.network(*decoder), IMAGES)


@frameworks
def test_unsuitable_classifiers_are_not_exported(on):
    for outputs in ([(2, 2, 5)], [(10,), (10,)]):
        with pytest.raises(ValueError, match="classifier cannot be exported"):
            on.module.export_classifier(on.network(PIXELS, *outputs), IMAGES)
    with pytest.raises(TypeError, match="float64"):
        on.module.export_classifier(on.classifier(), IMAGES / 255)


def hand_made(inputs: list[str], nodes: list, initializers=()) -> bytes:
    """An ONNX model from named float inputs to `y`."""

    def value(name):
        return onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, ["batch", 28, 28]
        )

    graph = onnx.helper.make_graph(
        nodes, "graph", [value(name) for name in inputs], [value("y")], initializers
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], doc_string="/secret"
    )
    model.ir_version = 10
    return model.SerializeToString()


def test_tidy_renames_and_cleans():
    node = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="/home/someone")
    content = onnx_training.tidy(hand_made(["x"], [node]), "encoder")
    tidied = onnx.load_from_string(content)
    (relu,) = tidied.graph.node
    assert (relu.input[:], relu.output[:]) == (["images"], ["code"])
    assert dims(tidied.graph.input[0]) == dims(tidied.graph.output[0]) == ("N", 28, 28)
    assert b"/" not in content


@pytest.mark.parametrize(
    ("inputs", "nodes", "message"),
    [
        (["x", "z"], [("Add", ["x", "z"], ["y"])], "one input and one output, not 2"),
        (["x"], [("Relu", ["x"], ["code"]), ("Relu", ["code"], ["y"])], "'code'"),
        (["x"], [("Relu", ["elsewhere"], ["y"])], "invalid ONNX"),
    ],
)
def test_tidy_refuses(inputs, nodes, message):
    content = hand_made(inputs, [onnx.helper.make_node(*node) for node in nodes])
    with pytest.raises(ValueError, match=message):
        onnx_training.tidy(content, "encoder")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.0])
def test_broken_weights_are_found(value):
    weights = np.array([0.5, value], np.float32)
    initializers = [onnx.numpy_helper.from_array(weights, "conv.weight")]
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    broken = onnx_training.broken_weights(hand_made(["x"], [relu], initializers))
    assert broken == ([] if value == 1.0 else ["conv.weight"])
