"""Checks before a training or an export, with errors in the reader's terms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from caebook.images import check_images
from caebook.training.recipes import Recipe


def check_training(
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray | None,
    validation: np.ndarray,
    validation_labels: np.ndarray | None,
) -> None:
    """Raise TypeError or ValueError unless `fit` can train on these by `recipe`."""
    pairs = (("images", images, labels), ("validation", validation, validation_labels))
    for what, stack, classes in pairs:
        check_images(stack, what)
        if (classes is not None) != (recipe.loss == "crossentropy"):
            raise ValueError(
                f"{what} come {'without' if classes is None else 'with'} labels, but "
                f"the loss is {recipe.loss!r}: 'crossentropy' needs labels, for both "
                "images and validation, and the other losses take none"
            )
        if classes is not None and (
            np.shape(classes) != (len(stack),)
            or np.asarray(classes).dtype.kind not in "iu"
            or np.min(classes) < 0
        ):
            raise ValueError(
                f"the labels of {what} must be class indices from 0 up, one for each "
                f"of the {len(stack)} images"
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
    """Raise ValueError if a label is beyond the `classes` outputs."""
    if (highest := max(int(np.max(part)) for part in labels)) >= classes:
        raise ValueError(
            f"the network has {classes} outputs, but there are labels up to {highest}"
        )


@contextlib.contextmanager
def explain(what: str) -> Iterator[None]:
    """Turn any error that a framework raises about a network into a ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {error}") from error
