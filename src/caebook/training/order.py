"""The order in which a training sees its images, the same in both frameworks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Indices of one epoch's batches: the same order in both frameworks.

    The order depends on `seed` and `epoch` only, so a resumed training gets the same
    batches as an uninterrupted one. The last batch may be smaller.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of the frameworks' generators in an epoch: 32 bits, for any seed from 0."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
