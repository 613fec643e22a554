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
    """A trained network as ONNX files, with outputs that they must reproduce.

    Attributes
    ----------
    framework : "keras" or "torch"
    models : ONNX files by name: ``encoder`` and ``decoder``, or ``classifier``
    probe : uint8 (n, 28, 28), images that the framework's own model processed
    outputs : the framework's own output of each model for the probe, float32
    parameters : ``total``, ``encoder``, ``decoder``
    device : name of the GPU that held the network; None for the CPU
    """

    framework: str
    models: dict[str, bytes]
    probe: np.ndarray
    outputs: dict[str, np.ndarray]
    parameters: dict[str, int | None]
    device: str | None = None
