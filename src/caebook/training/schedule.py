"""Schedules: the learning rate of each step, the same in both frameworks."""

from __future__ import annotations

import math

from caebook.training.recipes import Recipe

#: One cycle spends this share of its steps on the warm-up, from the peak divided by 25.
WARM_UP = 0.3
FIRST = 1 / 25

#: Both falling schedules end at this share of the peak.
LAST = 1e-4


def steps_per_epoch(recipe: Recipe) -> int:
    """How many batches an epoch has; the last may be smaller."""
    return math.ceil(recipe.train_images / recipe.batch_size)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step; it depends on the recipe and the step only.

    ``constant`` is the recipe's learning rate. ``cosine`` falls from it, along half a
    cosine over all steps, to its ten-thousandth. ``one-cycle`` first rises linearly,
    for 30 % of the steps, from a 25th of it, and then falls like ``cosine``.

    Parameters
    ----------
    step : 0 for the first of the training, counted on over the epochs

    References
    ----------
    Smith and Topin, "Super-Convergence", 2018, for one cycle; here without its cycle of
    the momentum.
    """
    peak = recipe.learning_rate
    if recipe.schedule == "constant":
        return peak
    progress = step / max(1, recipe.epochs * steps_per_epoch(recipe) - 1)
    warm_up = WARM_UP if recipe.schedule == "one-cycle" else 0.0
    if progress < warm_up:
        return peak * (FIRST + (1 - FIRST) * progress / warm_up)
    fallen = (progress - warm_up) / (1 - warm_up)
    return peak * (LAST + (1 - LAST) * (1 + math.cos(math.pi * fallen)) / 2)
