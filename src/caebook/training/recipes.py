"""Recipes: how a network is trained, and what each source did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from caebook.validation import check_fields


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. ``run.json`` holds the same fields.

    Give a field that is added later a default that says what earlier trainings did:
    earlier records do not have it.

    Raises
    ------
    ValueError
        If a field has a value that `fit` does not support.
    """

    optimizer: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["constant"] = "constant"
    loss: Literal["bce", "mse", "crossentropy"] = "bce"
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 128
    train_images: PositiveInt = 60_000
    precision: Literal["float32"] = "float32"

    def __post_init__(self) -> None:
        check_fields(self)


# What the sources did; the chapters quote and cite them.
SOURCE_RECIPES = {
    "classifier": Recipe(loss="crossentropy", epochs=10),
    "shallow": Recipe(loss="bce", epochs=50),
    "deep": Recipe(loss="bce", epochs=50),
    "dcnn": Recipe(loss="mse", epochs=30),
    "transposed": Recipe(loss="mse", epochs=30, batch_size=20),
    # The source does not give epochs, batch size and learning rate: these are ours.
    "wide-kernel": Recipe(loss="mse", epochs=30),
    "code16": Recipe(loss="bce", epochs=20, batch_size=32),
    # The experiment on depth is ours.
    "ladder": Recipe(loss="bce", epochs=10, batch_size=32),
}
