"""How fast the book's trainings are, compared with loops as a newcomer writes them.

Run it in the book's environment: ``python benchmarks/training.py``. For each system and
framework the same recipe, the source's, is followed twice, with the same network, batch
size and loss: by ``caebook.training``, and by Keras's own `fit` or a loop over
PyTorch's `DataLoader`. One thread; the least processor time of three epochs of 40 steps
after a first one, which is not counted because it compiles.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
from dataclasses import replace

import numpy as np
from measuring import parser, pin, run_part, save

from caebook import data, networks
from caebook.images import to_float
from caebook.training import SOURCE_RECIPES, Recipe

SYSTEMS = ("shallow", "deep", "dcnn", "transposed", "wide-kernel", "code16")
FRAMEWORKS = ("keras", "torch")
STEPS, EPOCHS = 40, 4
NOTE = """\
Images a second in training, in one thread: by `caebook.training`, and by a plain loop,
which is Keras's `fit`, or in PyTorch a loop over a `DataLoader`. Both follow the
source's recipe of the system."""


def plain_keras(model, images: np.ndarray, recipe: Recipe) -> list[float]:
    """Train by `fit`; return the processor time at the end of each epoch."""
    import keras

    loss = {"bce": "binary_crossentropy", "mse": "mean_squared_error"}[recipe.loss]
    model.compile(optimizer=keras.optimizers.Adam(recipe.learning_rate), loss=loss)
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.process_time())
    )
    x = to_float(images)[..., None]
    model.fit(
        x, x, batch_size=recipe.batch_size, epochs=recipe.epochs,
        verbose=0, callbacks=[watch],
    )  # fmt: skip
    return ends


def plain_torch(model, images: np.ndarray, recipe: Recipe) -> list[float]:
    """Train by a plain loop; return the processor time at the end of each epoch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    dataset = TensorDataset(torch.from_numpy(to_float(images)[:, None]))
    loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True)
    loss_function = {"bce": nn.BCELoss(), "mse": nn.MSELoss()}[recipe.loss]
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    ends = []
    for _ in range(recipe.epochs):
        total = 0.0
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = loss_function(model(batch), batch)
            loss.backward()
            optimizer.step()
            total += loss.item()
        ends.append(time.process_time())
    return ends


def ours(model, images: np.ndarray, recipe: Recipe, framework: str) -> list[float]:
    """Train by `caebook.training`; return the processor time at each epoch's end."""
    ends: list[float] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ends.append(time.process_time())  # a line is logged for each epoch

    logger = logging.getLogger("caebook.training")
    logger.setLevel(logging.INFO)
    logger.addHandler(Watch())
    training = importlib.import_module(f"caebook.training.{framework}")
    training.fit(model, images, recipe, validation=images[:1])
    return ends


def images_per_second(system: str, framework: str, how: str, quick: bool) -> float:
    """Train one network in this process and return its speed."""
    source = SOURCE_RECIPES[system]
    count = (2 if quick else STEPS) * source.batch_size
    recipe = replace(source, train_images=count, epochs=2 if quick else EPOCHS)
    images = data.load("auto-digits").train_images[:count]
    model = networks.build(system, framework)
    if how == "ours":
        ends = ours(model, images, recipe, framework)
    else:
        plain = {"keras": plain_keras, "torch": plain_torch}[framework]
        ends = plain(model, images, recipe)
    return count / float(np.diff(ends).min())


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        print(json.dumps(images_per_second(*chosen.one, quick=chosen.quick)))
        return 0
    pin()
    rows = []
    quick = ["--quick"] if chosen.quick else []
    for system in ("transposed",) if chosen.quick else SYSTEMS:
        for framework in FRAMEWORKS:
            plain, fast = (
                run_part(__file__, ["--one", system, framework, how, *quick])
                for how in ("plain", "ours")
            )
            row = {"system": system, "framework": framework}
            row |= {"plain loop": plain, "caebook": fast, "ratio": fast / plain}
            print(f"{system}, {framework}: {fast / plain:.2f} times", flush=True)
            rows.append(row)
    tables = {"images a second, and their ratio": rows}
    save(chosen.output, "training", "Training", NOTE, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
