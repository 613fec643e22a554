"""A tiny autoencoder as a run on disk, for the tests of the codec.

It is built as ONNX without any framework: the encoder takes the means of square blocks
of pixels, the decoder repeats them.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from caebook import codec, runs

NAME = "tiny-keras-glyph-digits-s0"


def onnx_model(nodes, source, target, weights) -> bytes:
    """An ONNX model from (name, shape) to (name, shape)."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (source, target)
    ]
    values = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in weights.items()
    ]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def encoder(side: int) -> bytes:
    """Means of blocks, `side` × `side` of them."""
    width, node = 28 // side, helper.make_node
    pool = {"kernel_shape": [width, width], "strides": [width, width]}
    nodes = [
        node("Unsqueeze", ["images", "channel"], ["a"]),
        node("AveragePool", ["a"], ["b"], **pool),
        node("Transpose", ["b"], ["code"], perm=[0, 2, 3, 1]),
    ]
    code = ("code", (side, side, 1))
    return onnx_model(nodes, ("images", (28, 28)), code, {"channel": np.array([1])})


def decoder(side: int, gain: float = 1.0) -> bytes:
    """Each number repeated over its block, times `gain`; a narrow convolution last."""
    node = helper.make_node
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 1, 1] = gain
    nodes = [
        node("Transpose", ["code"], ["a"], perm=[0, 3, 1, 2]),
        node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        node("Conv", ["b", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        node("Squeeze", ["c", "channel"], ["images"]),
    ]
    weights = {
        "channel": np.array([1]),
        "scales": np.float32([1, 1, 28 // side, 28 // side]),
        "kernel": kernel,
    }
    return onnx_model(nodes, ("code", (side, side, 1)), ("images", (28, 28)), weights)


def record(side: int) -> dict:
    """The content of its ``run.json``."""
    system, framework, dataset, variant, seed = runs.parse_id(NAME)
    return {
        "schema": runs.SCHEMA,
        "kind": "autoencoder",
        "system": system,
        "variant": variant,
        "framework": framework,
        "dataset": dataset,
        "seed": seed,
        "profile": "smoke",
        "recipe": {
            "optimizer": "adam",
            "learning_rate": 0.001,
            "schedule": "constant",
            "loss": "mse",
            "epochs": 1,
            "batch_size": 128,
            "train_images": 1000,
            "precision": "float32",
        },
        "parameters": {"total": 0, "encoder": 0, "decoder": 0},
        "code": {"shape": [side, side, 1], "count": side * side},
        "history": {"loss": [0.1], "val_loss": [0.1], "seconds": [1.0]},
        "images_per_second": None,
        "test": dict.fromkeys(("bce", "mse", "psnr", "ssim", "uqi", "uqi_sewar"), 0.5)
        | {"images": 1, "accuracy": None},
        "provenance": {
            "git": None,
            "versions": {},
            "dataset_sha256": "0" * 64,
            "machine": "none",
            "created": "2026-01-01T00:00:00+00:00",
        },
    }


def write_run(folder: Path, side: int = 4, gain: float = 1.0) -> runs.Run:
    """Write the run into `folder`; its code is `side` × `side` numbers."""
    target = folder / NAME
    target.mkdir(parents=True)
    (target / "encoder.onnx").write_bytes(encoder(side))
    (target / "decoder.onnx").write_bytes(decoder(side, gain))
    (target / "run.json").write_text(json.dumps(record(side)), encoding="utf-8")
    return runs.read(target)


def images(count: int, seed: int = 0) -> np.ndarray:
    """Grey blobs whose brightness varies: uint8 (count, 28, 28)."""
    rng = np.random.default_rng(seed)
    blocks = rng.beta(0.5, 1.5, (count, 4, 4)) * 255
    return np.kron(blocks, np.ones((7, 7))).astype(np.uint8)


def make_model(folder: Path, side: int = 4, bits: int = 4) -> codec.Model:
    """The run with a fitted codec, saved beside it."""
    model = codec.fit(write_run(folder, side), images(500), bits)
    model.save()
    return model
