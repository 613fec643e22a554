"""The start of an autoencoder's last bias."""

from __future__ import annotations

import math

import numpy as np


def mean_pixel_bias(images: np.ndarray, sigmoid: bool) -> float:
    """Bias with which a network that adds nothing else shows the mean pixel.

    Parameters
    ----------
    images : uint8 (N, 28, 28)
    sigmoid : whether the network ends in a sigmoid: then it is the mean's logit
    """
    mean = float(np.mean(images)) / 255
    if not sigmoid:
        return mean
    mean = min(max(mean, 1e-4), 1 - 1e-4)  # black or white images have no finite logit
    return math.log(mean / (1 - mean))
