"""The ONNX boundary, where networks of both frameworks look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Names at the ONNX boundary, the same from both frameworks: model → (input, output).
BOUNDARY = {
    "encoder": ("images", "code"),
    "decoder": ("code", "images"),
    "classifier": ("images", "probabilities"),
}
PROBE_IMAGES = 16


@dataclass(frozen=True)
class Exported:
    """A trained network at the ONNX boundary, with what it must reproduce there.

    Attributes
    ----------
    framework : "keras" or "torch"
    models : ONNX files by name: ``encoder`` and ``decoder``, or ``classifier``
    probe : uint8 (n, 28, 28), images that were put through the framework's own model
    outputs : the framework's own output of each model for the probe, float32
    parameters : ``total``, ``encoder``, ``decoder``
    """

    framework: str
    models: dict[str, bytes]
    probe: np.ndarray
    outputs: dict[str, np.ndarray]
    parameters: dict[str, int | None]
