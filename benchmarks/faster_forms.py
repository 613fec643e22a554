"""The same network computed with less work, for `time_to_quality.py`.

Two pairs of layers have a cheaper form that gives the same numbers, up to rounding:

- ReLU, then max pooling: pooling first leaves a quarter of the values for ReLU.
- Nearest-neighbour upsampling, then a convolution of 3 × 3. Of the nine pixels that a
  kernel covers, several are copies of one pixel of the small image. So each of the
  four places in a 2 × 2 square has its own kernel of at most 2 × 2, whose weights are
  sums of the weights of the 3 × 3 kernel; one convolution of the small image computes
  all four, and its channels are then spread over the square (sub-pixel convolution).

The weights stay those of the layers as they were written. The form is for networks
that are chains of layers and end in a sigmoid, such as `code16`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: A layer with its kind: "convolve", "activate", "relu", "pool", "upsample" or "apply".
Step = tuple[str, Any]

# Which small pixel each of the 3 rows of a kernel sees: [place in the square, small
# row, kernel row]. With padding, a kernel on row 2k of the large image covers the small
# rows k-1, k, k; on row 2k+1 it covers k, k, k+1. Without, all are one row further.
SEES = {
    "same": np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]],
                      [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], np.float32),
    "valid": np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], np.float32),
}  # fmt: skip


def rearrange(steps: list[Step]) -> list[Step]:
    """Put pooling before ReLU, and upsampling behind its convolution.

    "upsample, convolve, relu" becomes "convolve small, relu, spread".
    """
    steps, changed = list(steps), []
    while steps:
        kind, layer = steps.pop(0)
        following = steps[0][0] if steps else None
        if (kind, following) == ("relu", "pool"):
            changed += [steps.pop(0), (kind, layer)]
        elif (kind, following) == ("upsample", "convolve"):
            changed.append(("convolve small", steps.pop(0)[1]))
            if steps and steps[0][0] == "relu":
                changed.append(steps.pop(0))
            changed.append(("spread", None))
        else:
            changed.append((kind, layer))
    return changed


def torch_form(model) -> Callable:
    """The function of `model`, an `nn.Module`, from images to logits."""
    from torch import einsum, from_numpy, nn
    from torch.nn import functional

    kinds = {nn.Conv2d: "convolve", nn.ReLU: "relu"}
    kinds |= {nn.MaxPool2d: "pool", nn.Upsample: "upsample"}
    layers = [layer for layer in model.modules() if not any(layer.children())]
    if not isinstance(layers.pop(), nn.Sigmoid):
        raise ValueError("the network must end in nn.Sigmoid")
    steps = rearrange([(kinds.get(type(layer), "apply"), layer) for layer in layers])
    sees = {padding: from_numpy(matrix) for padding, matrix in SEES.items()}

    def convolve_small(conv, images):
        padding = "valid" if conv.padding == (0, 0) else "same"
        rows = sees[padding]
        kernel = einsum("pyu,qxv,oiuv->opqiyx", rows, rows, conv.weight)
        bias = conv.bias.repeat_interleave(4)
        return functional.conv2d(images, kernel.flatten(0, 2), bias, padding=padding)

    def forward(images):
        for kind, layer in steps:
            if kind == "convolve small":
                images = convolve_small(layer, images)
            elif kind == "spread":
                images = functional.pixel_shuffle(images, 2)
            else:
                images = layer(images)
        return images

    return forward


def keras_form(model):
    """A `keras.Model` with the layers of `model`, from images to logits."""
    import keras
    import tensorflow as tf
    from keras import layers, ops

    relu, sigmoid = keras.activations.relu, keras.activations.sigmoid
    steps: list[Step] = []
    for layer in [layer for half in model.layers for layer in half.layers]:
        if isinstance(layer, layers.Conv2D):
            kind = "relu" if layer.activation is relu else "activate"
            steps += [("convolve", layer), (kind, layer.activation)]
        elif isinstance(layer, layers.MaxPooling2D):
            steps.append(("pool", layer))
        else:
            steps.append(("upsample", layer))
    if steps.pop()[1] is not sigmoid:
        raise ValueError("the network must end in a layer with activation='sigmoid'")
    steps = rearrange(steps)

    def convolve(conv, images, small):
        kernel, bias = ops.convert_to_tensor(conv.kernel), conv.bias
        if small:
            rows = ops.cast(SEES[conv.padding], kernel.dtype)
            kernel = ops.einsum("pyu,qxv,uvio->yxipqo", rows, rows, kernel)
            kernel = ops.reshape(kernel, (*kernel.shape[:3], -1))
            bias = ops.tile(bias, 4)
        return ops.add(ops.conv(images, kernel, padding=conv.padding), bias)

    class Form(keras.Model):
        def __init__(self):
            super().__init__()
            self.original = model

        def call(self, images):
            for kind, layer in steps:
                if kind in ("convolve", "convolve small"):
                    images = convolve(layer, images, kind == "convolve small")
                elif kind == "spread":
                    images = tf.nn.depth_to_space(images, 2)
                else:
                    images = layer(images)
            return images

    form = Form()
    form(np.zeros((1, 28, 28, 1), np.float32))
    return form
