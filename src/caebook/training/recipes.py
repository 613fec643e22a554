"""Recipes: how a network is trained, and what each source did."""

from __future__ import annotations

import math
from dataclasses import dataclass


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


# What the sources did; their own words and numbers are cited in the chapters.
SOURCE_RECIPES = {
    "classifier": Recipe(loss="crossentropy", epochs=10),
    "shallow": Recipe(loss="bce", epochs=50),
    "deep": Recipe(loss="bce", epochs=50),
    "dcnn": Recipe(loss="mse", epochs=30),
    "transposed": Recipe(loss="mse", epochs=30, batch_size=20),
    "wide-kernel": Recipe(loss="mse", epochs=30),  # epochs, batch and rate are ours
    "code16": Recipe(loss="bce", epochs=20, batch_size=32),
    "ladder": Recipe(
        loss="bce", epochs=10, batch_size=32
    ),  # the experiment on depth is ours
}
