"""Content addresses of models: an id says what a model computes, not how it is stored.

A model's id is a SHA-256 over what decoding uses: the shape of a code, levels, tables
and the decoder's weights. The weights are taken as numbers, sorted, so the id does not
depend on names, order and the exporter's details in the ONNX file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from caebook.errors import CodecError

VERSION = 2
DIGITS = 8  # hexadecimal digits of an id in names, and 4 bytes in files


def model_digest(
    shape: Sequence[int], levels: np.ndarray, tables: np.ndarray, weights: bytes
) -> bytes:
    """A model's id, 32 bytes; `weights` are from `weights_digest` of its decoder."""
    digest = hashlib.sha256(f"caebook model {VERSION} {list(shape)}".encode())
    digest.update(levels.astype("<f4").tobytes())
    digest.update(tables.astype("<u2").tobytes())
    digest.update(weights)
    return digest.digest()


def weights_digest(decoder: bytes, name: str = "the decoder") -> bytes:
    """SHA-256 over the float32 weights of an ONNX file, 32 bytes.

    For each tensor, sorted by shape and then by content: the shape as a text like
    ``[16, 1, 3, 3]``, and the numbers with the lowest byte first. The scales of a
    `Resize` node are no weights: some exporters write them otherwise.

    Raises
    ------
    CodecError
        If the package `onnx` is not installed, or this is no ONNX file.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise CodecError(
            f"a new model's id is computed from {name}, which needs the package onnx; "
            "install the book's packages, e.g. with `pip install 'caebook[train]'`"
        ) from error
    try:
        graph = onnx.load_from_string(decoder).graph
    except Exception as error:  # protobuf's exceptions share no narrower base
        raise CodecError(f"{name} is not an ONNX model: {error}") from error
    scales = {n for node in graph.node if node.op_type == "Resize" for n in node.input}
    tensors = sorted(
        (list(tensor.dims), numpy_helper.to_array(tensor).astype("<f4").tobytes())
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in scales
    )
    digest = hashlib.sha256()
    for shape, content in tensors:
        digest.update(str(shape).encode())
        digest.update(content)
    return digest.digest()
