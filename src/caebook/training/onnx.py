"""ONNX files: one convention for both frameworks, broken weights, faster decoders."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from caebook.training.boundary import BOUNDARY


def tidy(model: bytes, name: str) -> bytes:
    """Give an exported model the book's names and remove the exporter's metadata.

    Input, output and batch dimension get the names of `BOUNDARY` and ``N``. Doc strings
    and metadata are removed: they hold paths and line numbers of the exporting machine.

    Raises
    ------
    ValueError
        If the model does not have exactly one input and one output, or is not valid.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ValueError(
            f"the {name} must have one input and one output, not {len(graph.input)} "
            f"and {len(graph.output)}"
        )
    names = dict(
        zip([graph.input[0].name, graph.output[0].name], BOUNDARY[name], strict=True)
    )
    inner = {tensor for node in graph.node for tensor in node.output} - names.keys()
    if clash := inner & set(BOUNDARY[name]):
        raise ValueError(f"the {name} has inner tensors named {sorted(clash)}")
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "N"
        del value.metadata_props[:]
    # Shapes of inner tensors carry other names for N and are inferred again anyway.
    del graph.value_info[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    graph.name, graph.doc_string, proto.doc_string = name, "", ""
    del graph.metadata_props[:]
    del proto.metadata_props[:]
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"the {name} is invalid ONNX: {error}") from error
    return proto.SerializeToString(deterministic=True)


def broken_weights(model: bytes) -> list[str]:
    """Names of the weights that hold NaN or infinite values."""
    broken = []
    for tensor in onnx.load_from_string(model).graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            broken.append(tensor.name)
    return broken


def split_narrow_convolutions(model: bytes, early: bool = True) -> bytes:
    """Speed up convolutions with one output channel; the network stays the same.

    ONNX Runtime computes channels in groups of 8 or 16, so a layer with a single output
    channel, as a decoder's last is, wastes most of its work. Such a k × k layer becomes
    two: a 1 × 1 convolution with a channel for each of the kernel's k² positions, and
    one that shifts these channels into place and adds them. Only the order of the sums
    changes.

    Parameters
    ----------
    model : an ONNX file
    early : also move the 1 × 1 convolution before an upsampling, which then repeats
        fewer channels. This is correct if the nodes between only repeat and rearrange
        pixels within channels, so compare the outputs.

    Raises
    ------
    ValueError
        If the result is invalid; only `early` can cause that.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [_copy(node) for node in graph.node]
    for node in list(nodes):
        kernel = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None or kernel.dims[0] != 1 or list(kernel.dims[2:]) == [1, 1]:
            continue
        values = numpy_helper.to_array(kernel)[0]
        channels, height, width = values.shape
        places = height * width
        taps = values.reshape(channels, places).T.reshape(places, channels, 1, 1)
        shift = np.eye(places, dtype=values.dtype).reshape(1, places, height, width)
        name = node.output[0]
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value), f"{name}/{what}")
            for what, value in (("taps", taps), ("shift", shift))
        )
        node.input[1] = f"{name}/shift"
        source = _before_moves(nodes, node.input[0]) if early else node.input[0]
        first = helper.make_node("Conv", [source, f"{name}/taps"], [f"{name}/places"])
        users = [n for n in nodes if source in n.input] if early else [node]
        for user in users:
            replaced = [f"{name}/places" if x == source else x for x in user.input]
            user.input[:] = replaced
        nodes.insert(nodes.index(users[0]), first)
    used = {name for node in nodes for name in node.input}
    kept = [_copy(tensor) for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"the model is invalid ONNX: {error}") from error
    return proto.SerializeToString(deterministic=True)


# The nodes that exporters make of an upsampling: they move pixels, without arithmetic.
_MOVES = {
    "Identity", "Reshape", "Resize", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip


def _before_moves(nodes: list[onnx.NodeProto], tensor: str) -> str:
    """The tensor from which `tensor` is made by moving and repeating pixels only."""
    makers = {output: node for node in nodes for output in node.output}
    while tensor in makers and makers[tensor].op_type in _MOVES:
        tensor = makers[tensor].input[0]
    return tensor


def _copy(proto: onnx.NodeProto | onnx.TensorProto):
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy
