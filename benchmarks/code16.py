"""Trains `code16` by the source's recipe or by ours, for `time_to_quality.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from faster_forms import keras_form, torch_form
from measuring import processor_seconds
from soap import keras_soap, torch_soap

from caebook import networks
from caebook.images import slices, to_float
from caebook.training import FAST_RECIPE, SOURCE_RECIPES, Recipe, batches, learning_rate
from caebook.training.bias import mean_pixel_bias
from caebook.training.schedule import steps_per_epoch

IMAGES = 55_000
SEED = 0
AVERAGE = 0.998  # decay of the weights' moving average, a step


@dataclass(frozen=True)
class Training:
    """One training of `code16`.

    Attributes
    ----------
    fit : Keras's own `fit`, as the source calls it; the rest is ours
    form : ``"faster"`` computes the same network by `faster_forms`
    start : ``"glorot"`` gives PyTorch the distribution of Keras's initial weights
    method : an optimiser, ``"SOAP"`` or a name in `torch.optim` or `keras.optimizers`
    averaged : validate with a moving average of the weights
    """

    framework: str
    recipe: Recipe
    form: str = "written"
    start: str = "own"
    method: str = "Adam"
    fused: bool = False
    channels_last: bool = True
    compiled: bool = False
    averaged: bool = False
    bfloat16: bool = False
    fit: bool = False


SOURCE = Training(
    "keras", replace(SOURCE_RECIPES["code16"], train_images=IMAGES), fit=True
)
TORCH = Training("torch", FAST_RECIPE, "faster", "glorot", method="SOAP")
KERAS = Training("keras", FAST_RECIPE, "faster", method="SOAP")


def changed(training: Training, epochs: int, **changes: object) -> Training:
    """The training with other epochs and other fields, its own or its recipe's."""
    fields = Recipe.__dataclass_fields__
    recipe = {name: changes.pop(name) for name in list(changes) if name in fields}
    recipe = replace(training.recipe, epochs=epochs, **recipe)
    return replace(training, recipe=recipe, **changes)


@dataclass
class Epoch:
    """Validation BCE after an epoch, and what its training took, in seconds."""

    bce: float
    processor: float
    clock: float


class Stopwatch:
    """Processor time and time by the clock since the last look."""

    def __init__(self) -> None:
        self.look()

    def look(self) -> tuple[float, float]:
        now = processor_seconds(), time.perf_counter()
        passed = tuple(np.subtract(now, getattr(self, "last", now)))
        self.last = now
        return passed


def epochs_of_fit(
    training: Training, images: np.ndarray, validation: np.ndarray
) -> Iterator[Epoch]:
    """Train as the source does: one call of Keras's `fit` on float arrays."""
    import keras

    recipe = training.recipe
    model = networks.build("code16", "keras", SEED)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    x, y = to_float(images)[..., None], to_float(validation)[..., None]
    done = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.watch = Stopwatch()  # the first epoch compiles the step

        def on_test_begin(self, logs=None):
            self.passed = self.watch.look()

        def on_epoch_end(self, epoch, logs=None):
            done.append(Epoch(logs["val_loss"], *self.passed))
            say(f"epoch {epoch + 1}/{recipe.epochs}", done[-1])
            self.watch.look()

    model.fit(
        x, x,
        batch_size=recipe.batch_size, epochs=recipe.epochs, verbose=0,
        validation_data=(y, y), validation_batch_size=500, callbacks=[Watch()],
    )  # fmt: skip
    yield from done


def epochs_of(
    training: Training, images: np.ndarray, validation: np.ndarray
) -> Iterator[Epoch]:
    """Train by our recipe, in either framework."""
    prepare = {"torch": prepare_torch, "keras": prepare_keras}[training.framework]
    recipe, steps = training.recipe, steps_per_epoch(training.recipe)
    watch = Stopwatch()
    train_step, validate = prepare(training, images)
    watch_passed = np.array(watch.look())  # building counts, as compiling does
    for epoch in range(recipe.epochs):
        parts = batches(len(images), recipe.batch_size, SEED, epoch)
        for step, index in enumerate(parts, epoch * steps):
            train_step(images[index], learning_rate(recipe, step))
        passed = watch_passed + watch.look()
        done = Epoch(validate(validation), *map(float, passed))
        say(f"epoch {epoch + 1}/{recipe.epochs}", done)
        yield done
        watch.look()
        watch_passed = np.zeros(2)


Steps = tuple[Callable[[np.ndarray, float], None], Callable[[np.ndarray], float]]


def prepare_torch(training: Training, images: np.ndarray) -> Steps:
    """A function that trains on a batch, and one that returns the validation BCE."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_flush_denormal(True)
    recipe = training.recipe
    model = networks.build("code16", "torch", SEED)
    layers = [layer for layer in model.modules() if not any(layer.children())]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    if training.start == "glorot":
        for layer in convolutions:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    if recipe.initial_bias:
        nn.init.constant_(convolutions[-1].bias, mean_pixel_bias(images, sigmoid=True))
    if training.channels_last:
        model.to(memory_format=torch.channels_last)
    forward = written = nn.Sequential(*layers[:-1])  # to the logits
    if training.form == "faster":
        forward = torch_form(model)
    if training.compiled:
        forward = torch.compile(forward)
    more = {"fused": True} if training.fused else {}
    if training.method == "SOAP":
        optimizer = torch_soap(model.parameters())
    else:
        optimizer = getattr(torch.optim, training.method)(model.parameters(), **more)
    averaged = torch.optim.swa_utils.AveragedModel(
        written, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    reduced = training.bfloat16

    def to_tensor(pixels):
        return torch.from_numpy(to_float(pixels)[:, None])

    def train_step(pixels, rate):
        batch = to_tensor(pixels)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            logits = forward(batch)
        logits = logits.float()
        if recipe.logits:
            loss = functional.binary_cross_entropy_with_logits(logits, batch)
        else:
            loss = functional.binary_cross_entropy(torch.sigmoid(logits), batch)
        loss.backward()
        optimizer.step()
        if training.averaged:
            averaged.update_parameters(written)

    def validate(pixels):
        scored = averaged if training.averaged else written
        total = 0.0
        with torch.no_grad():
            for part in slices(len(pixels)):
                batch = to_tensor(pixels[part])
                total += functional.binary_cross_entropy_with_logits(
                    scored(batch), batch, reduction="sum"
                ).item()
        return total / pixels.size

    return train_step, validate


def prepare_keras(training: Training, images: np.ndarray) -> Steps:
    """A function that trains on a batch, and one that returns the validation BCE."""
    import keras
    from keras import ops

    if training.bfloat16:
        keras.config.set_dtype_policy("mixed_bfloat16")
    recipe = training.recipe
    model = networks.build("code16", "keras", SEED)
    last = model.layers[-1].layers[-1]
    if recipe.initial_bias:
        last.bias.assign([mean_pixel_bias(images, sigmoid=True)])
    form = model
    if training.form == "faster":
        form = keras_form(model)
    if recipe.logits:
        last.activation = keras.activations.linear
    if not recipe.logits and training.form == "faster":
        form = keras.Sequential([form, keras.layers.Activation("sigmoid")])
    named = {"SOAP": keras_soap}
    method = named.get(training.method) or getattr(keras.optimizers, training.method)
    form.compile(
        optimizer=method(),
        loss=keras.losses.BinaryCrossentropy(from_logits=recipe.logits),
        jit_compile=training.compiled,
    )

    def to_tensor(pixels):
        return to_float(pixels)[..., None]

    def train_step(pixels, rate):
        batch = to_tensor(pixels)
        form.optimizer.learning_rate = rate
        form.reset_metrics()
        form.train_on_batch(batch, batch)

    def validate(pixels):
        total = 0.0
        for part in slices(len(pixels)):
            batch = to_tensor(pixels[part])
            output = ops.cast(form(batch, training=False), "float32")
            loss = ops.binary_crossentropy(batch, output, from_logits=recipe.logits)
            total += float(ops.sum(loss))
        return total / pixels.size

    return train_step, validate


def say(what: str, done: Epoch) -> None:
    """Print the progress of a training; the result alone goes to standard output."""
    print(
        f"  {what}: validation BCE {done.bce:.5f}, "
        f"{done.processor:.1f} s of processor time, {done.clock:.1f} s by the clock",
        file=sys.stderr, flush=True,
    )  # fmt: skip
