"""The recorded networks of the source systems, layer by layer, in both frameworks.

The tables are the sources' own. The recorded networks are read from their ONNX files.
Exporters write an upsampling, a padding or a cropping in different ways, so these are
recognised by what they do to the numbers.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from caebook import runs


class Layer(NamedTuple):
    """A table row; `pad` is added by a convolution, cropped by a transposed one."""

    op: str
    output: tuple[int, int, int]  # height, width, channels
    kernel: int
    stride: int = 1
    pad: tuple[int, int] = (0, 0)  # top and left, bottom and right
    activation: str = ""
    parameters: int = 0


def conv(size, channels, activation="relu", kernel=3, stride=1, pad=None) -> Layer:
    pad = ((kernel - 1) // 2, kernel // 2) if pad is None else pad  # "same"
    return Layer("conv", (size, size, channels), kernel, stride, pad, activation)


def transposed(size, channels, activation, kernel, stride=2, pad=(1, 1)) -> Layer:
    output = (size, size, channels)
    return Layer("transposed conv", output, kernel, stride, pad, activation)


def pool(size, channels, pad=(0, 0)) -> Layer:
    return Layer("max pool", (size, size, channels), 2, 2, pad)


def up(size, channels) -> Layer:
    return Layer("upsample", (size, size, channels), 2, 2)


LEAKY = "leaky relu 0.3"
# fmt: off
TABLES = {  # system → (encoder, decoder)
    "shallow": (
        [conv(28, 32), pool(14, 32), conv(14, 64)],
        [conv(14, 64), up(28, 64), conv(28, 32), conv(28, 1, "sigmoid")],
    ),
    "deep": (
        [conv(28, 32), pool(14, 32), conv(14, 64), pool(7, 64), conv(7, 128)],
        [conv(7, 128), up(14, 128), conv(14, 64), up(28, 64), conv(28, 32),
         conv(28, 1, "sigmoid")],
    ),
    "dcnn": (
        [conv(28, 100, LEAKY), pool(14, 100), conv(14, 20, LEAKY), pool(7, 20),
         conv(7, 4, LEAKY)],
        [up(14, 4), conv(14, 20, LEAKY), up(28, 20), conv(28, 100, LEAKY),
         conv(28, 1, LEAKY, kernel=2)],
    ),
    "transposed": (
        [conv(28, 16), pool(14, 16), conv(14, 4), pool(7, 4)],
        [transposed(14, 16, "relu", 2, pad=(0, 0)),
         transposed(28, 1, "sigmoid", 2, pad=(0, 0))],
    ),
    "wide-kernel": (  # with the decoder that mirrors the encoder
        [conv(28, 16), conv(14, 32, kernel=4, stride=2, pad=(1, 1)),
         conv(1, 64, kernel=16, stride=2, pad=(1, 1))],
        [transposed(14, 32, "relu", 16), transposed(28, 16, "relu", 4),
         transposed(28, 1, "sigmoid", 3, stride=1)],
    ),
    "code16": (
        [conv(28, 64), pool(14, 64), conv(14, 28), pool(7, 28), conv(7, 16),
         pool(4, 16, pad=(0, 1)), conv(4, 1, "sigmoid")],
        [conv(4, 16), up(8, 16), conv(8, 28), up(16, 28), conv(14, 64, pad=(0, 0)),
         up(28, 64), conv(28, 1, "sigmoid")],
    ),
}
# fmt: on

# system → (parameters: total, encoder, decoder; code shape), as the sources state them
STATED = {
    "shallow": (74_497, 18_816, 55_681, (14, 14, 64)),
    "deep": (332_801, 92_672, 240_129, (7, 7, 128)),
    "dcnn": (38_985, 19_744, 19_241, (7, 7, 4)),
    "transposed": (1_077, 740, 337, (7, 7, 4)),
    "wide-kernel": (1_065_409, 532_736, 532_673, (1, 1, 64)),
    "code16": (41_978, 20_989, 20_989, (4, 4, 1)),
}


def table(system: str) -> tuple[list[Layer], list[Layer]]:
    """Rows of encoder and decoder, with their numbers of weights and biases."""
    parts, channels = [], 1
    for part in TABLES[system]:
        parts.append([])
        for layer in part:
            filters = layer.output[2]
            count = (layer.kernel**2 * channels + 1) * filters
            counts = count if "conv" in layer.op else 0
            parts[-1].append(layer._replace(parameters=counts))
            channels = filters
    return tuple(parts)


def output_size(layer: Layer, size: int) -> int:
    """Height and width of the output by formula, for an input of `size` pixels."""
    if layer.op == "upsample":
        return layer.kernel * size
    if layer.op == "transposed conv":
        return (size - 1) * layer.stride + layer.kernel - sum(layer.pad)
    return (size + sum(layer.pad) - layer.kernel) // layer.stride + 1


@pytest.mark.parametrize("system", TABLES)
def test_table_adds_up(system):
    encoder, decoder = table(system)
    sums = [sum(row.parameters for row in rows) for rows in (encoder, decoder)]
    assert (sum(sums), *sums, encoder[-1].output) == STATED[system]
    size = 28
    for layer in encoder + decoder:
        size = output_size(layer, size)
        assert layer.output[:2] == (size, size), layer
    assert decoder[-1].output == (28, 28, 1)


def test_table_of_dcnn_has_the_sources_counts():
    counts = [row.parameters for part in table("dcnn") for row in part]
    assert [n for n in counts if n] == [1_000, 18_020, 724, 740, 18_100, 401]


# Reading a network from its ONNX file; inside, tensors are (N, c, h, w)

LAYERS = {"Conv": "conv", "ConvTranspose": "transposed conv", "MaxPool": "max pool"}
ACTIVATIONS = {"Relu": "relu", "LeakyRelu": "leaky relu", "Sigmoid": "sigmoid"}
# Attributes that no row describes: any other value than these fails the test.
PLAIN = {"auto_pad": b"NOTSET", "dilations": [1, 1], "output_padding": [0, 0]}


def all_tensors(model: onnx.ModelProto, values: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of the graph by name, for `values` as its input."""
    names = [name for node in model.graph.node for name in node.output if name]
    probed = onnx.ModelProto.FromString(model.SerializeToString())
    probed.graph.ClearField("output")
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    source = model.graph.input[0].name
    results = session.run(names, {source: values})
    return {source: values, **dict(zip(names, results, strict=True))}


def rearrangement(
    before: np.ndarray, after: np.ndarray, where: str
) -> tuple[int, np.ndarray]:
    """How `before` became `after`: repeated 1 or 2 times, then padded or cropped.

    Returns the number of repetitions, and what was added at the start (top, left) and
    at the end (bottom, right); a cropping is negative.
    """
    ways = []
    for factor, least in ((1, -2), (2, 0)):
        large = before.repeat(factor, axis=2).repeat(factor, axis=3)
        height, width = large.shape[2:]
        growth = after.shape[2] - height
        for start in range(abs(growth) + 1) if least <= growth <= 2 else ():
            end = abs(growth) - start
            if growth < 0:
                made = large[:, :, start : height - end, start : width - end]
            else:
                made = np.pad(large, [(0, 0), (0, 0), (start, end), (start, end)])
            if np.array_equal(made, after):
                ways.append((factor, np.sign(growth) * np.array([start, end])))
    shapes = f"{where}: {before.shape[1:]} → {after.shape[1:]}"
    assert ways, f"{shapes} is neither copied, repeated twice, padded nor cropped"
    assert len(ways) == 1, f"{shapes} has more than one explanation: {ways}"
    return ways[0]


def hwc(tensor: np.ndarray) -> tuple[int, int, int]:
    channels, height, width = tensor.shape[1:]
    return height, width, channels


def layer_of(
    node: onnx.NodeProto, before: np.ndarray, after: np.ndarray, added: np.ndarray
) -> Layer:
    """The row of a node of `LAYERS`; `added` is the padding just before it."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    odd = {k: v for k, v in given.items() if v != PLAIN.get(k, v)}
    assert not odd, f"{node.op_type} with {odd}"
    kernel, stride = given["kernel_shape"], given.get("strides", [1, 1])
    pads = np.reshape(given.get("pads", [0, 0, 0, 0]), (2, 2))
    both_axes = [set(kernel), set(stride), *map(set, pads.tolist())]
    assert max(map(len, both_axes)) == 1, f"{node.op_type} is not square: {given}"
    pad = pads[:, 0] + added
    if node.op_type == "MaxPool":  # rounding up is a padding at the end, too
        reach = (after.shape[2] - 1) * stride[0] + kernel[0]
        pad[1] = max(reach - before.shape[2] - pad[0], 0)
    op, pad = LAYERS[node.op_type], tuple(pad.tolist())
    return Layer(op, hwc(after), kernel[0], stride[0], pad)


def activation_of(node: onnx.NodeProto) -> str:
    slopes = [f" {a.f:.6g}" for a in node.attribute if a.name == "alpha"]
    return "".join([ACTIVATIONS[node.op_type], *slopes])


def read_layers(path: Path, shape: tuple[int, ...]) -> list[Layer]:
    """Rows of the network in an ONNX file whose input is (N, *shape).

    Follows one tensor through the graph. Between the nodes that belong to a row its
    numbers may be rearranged but must not change.
    """
    model = onnx.load(path)
    graph = model.graph
    noise = np.random.default_rng(0).random((3, *shape), np.float32)
    tensors = all_tensors(model, noise)
    weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    rows: list[Layer] = []

    def follow(tensor: np.ndarray, node: onnx.NodeProto | None = None) -> np.ndarray:
        """Continue with `tensor`; return the padding that belongs to `node`."""
        factor, sides = rearrangement(current, tensor, f"after {rows[-1:]}")
        if factor == 2:
            rows.append(up(2 * current.shape[2], current.shape[1]))
        if node is None or node.op_type not in LAYERS or min(sides) < 0:
            pad = tuple((rows[-1].pad - sides).tolist())
            rows[-1] = rows[-1]._replace(pad=pad, output=hwc(tensor))
            sides = 0 * sides
        return sides

    def channels_first(values: np.ndarray) -> np.ndarray:
        return values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)

    current = channels_first(noise)
    for node in graph.node:
        parameters = sum(weights[name].size for name in node.input if name in weights)
        bias = node.op_type == "Add" and parameters  # one that stands by itself
        if node.op_type not in {*LAYERS, *ACTIVATIONS} and not bias:
            continue
        [source] = [name for name in node.input if name not in weights]
        added = follow(tensors[source], node)
        after = tensors[node.output[0]]
        if node.op_type in LAYERS:
            rows.append(layer_of(node, tensors[source], after, added))
        elif node.op_type in ACTIVATIONS:
            names = [rows[-1].activation, activation_of(node)]
            rows[-1] = rows[-1]._replace(activation=" ".join(filter(None, names)))
        rows[-1] = rows[-1]._replace(parameters=rows[-1].parameters + parameters)
        current = after
    follow(channels_first(tensors[graph.output[0].name]))
    return rows


@pytest.fixture(scope="session")
def stamp(smoke_book) -> dict[str, str]:
    """What the first chapter was built with, including the names of the data sets."""
    return json.loads(min(smoke_book.glob("done/*.json")).read_text())


CASES = [*((system, "digits") for system in TABLES), ("code16", "letters")]


@pytest.mark.parametrize("framework", ["keras", "torch"])
@pytest.mark.parametrize(("system", "data"), CASES)
def test_recorded_network_is_the_table(system, data, framework, smoke_book, stamp):
    name = runs.run_id(system, framework, stamp[data], "short")
    run = runs.read(smoke_book / "runs" / name)
    encoder, decoder = table(system)
    *counts, code = STATED[system]
    assert read_layers(run.folder / "encoder.onnx", (28, 28)) == encoder
    assert read_layers(run.folder / "decoder.onnx", code) == decoder
    parameters = run.record.parameters
    assert [parameters.total, parameters.encoder, parameters.decoder] == counts
    assert run.record.code.shape == tuple(code)
