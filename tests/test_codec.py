"""The codec as a library: quantisers, entropy coders, models and files."""

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import version1
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from version1 import seal

from caebook import codec
from caebook.codec import (
    AdaptiveCoder,
    CodecError,
    CorruptFile,
    StaticCoder,
    identity,
    locate,
    quantise,
)
from caebook.files import root
from caebook.training.onnx import split_narrow_convolutions

DATA = Path(__file__).with_name("data")
IMAGES = tiny.images(40)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> codec.Model:
    """16 numbers of 4 bits. Tests must not change its folder."""
    return tiny.make_model(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def content(model) -> bytes:
    return codec.compress(IMAGES, model)


# --- quantisers -------------------------------------------------------------------


def codes(shape=(500, 2, 2, 1), seed=0) -> np.ndarray:
    """ReLU-like: many zeros, and a long tail."""
    values = np.random.default_rng(seed).normal(size=shape) ** 3
    return np.maximum(values, 0).astype(np.float32)


@pytest.mark.parametrize("kind", codec.QUANTISERS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_each_number_goes_to_its_nearest_level(kind, bits):
    quantiser = codec.QUANTISERS[kind](codes(), bits)
    assert (quantiser.kind, quantiser.bits) == (kind, bits)
    values = codes(seed=1)
    symbols = quantiser.encode(values)
    assert symbols.shape == (500, 4) and symbols.dtype == np.uint8
    distance = np.abs(values.reshape(500, 4, 1) - quantiser.levels)
    found = quantiser.decode(symbols)
    assert found.dtype == np.float32
    gap = np.abs(values.reshape(500, 4) - found) - distance.min(axis=2)
    assert gap.max() <= 1e-6


def test_a_number_between_two_levels_goes_up():
    quantiser = codec.Quantiser("uniform", np.float32([0, 1, 2, 3]))
    values = np.float32([[-9, 0.49, 0.5, 1.5, 2.51, 99, np.inf]])
    assert quantiser.encode(values).tolist() == [[0, 0, 1, 2, 3, 3, 3]]


def test_uniform_levels_span_the_codes_but_not_an_outlier():
    values = np.linspace(0, 1, 10_000, dtype=np.float32)
    values[77] = 1000
    levels = codec.uniform(values, 4).levels
    assert np.ptp(np.diff(levels)) < 1e-6
    assert levels[0] == pytest.approx(0.001, abs=1e-3)
    assert levels[-1] == pytest.approx(0.999, abs=1e-3)
    assert codec.uniform(values, 4, tail=0).levels[-1] == 1000


@pytest.mark.parametrize("bits", range(1, 9))
def test_lloyd_max_levels_are_means_and_no_worse_than_uniform(bits):
    values = codes()

    def error(quantiser):
        decoded = quantiser.decode(quantiser.encode(values))
        return np.mean((decoded - values.reshape(500, 4)) ** 2)

    found = codec.lloyd_max(values, bits)
    symbols = found.encode(values)
    for index in np.unique(symbols):
        mean = values.reshape(500, 4)[symbols == index].mean()
        assert found.levels[index] == pytest.approx(mean, rel=1e-3, abs=1e-3)
    assert error(found) <= error(codec.uniform(values, bits)) * (1 + 1e-6)


def test_lloyd_max_finds_clusters():
    values = np.float32([0, 0, 0, 0, 0, 0, 1, 1, 5, 5.5, 9, 9])
    levels = codec.lloyd_max(values, 2).levels
    assert levels == pytest.approx([0, 1, 5.25, 9])


@pytest.mark.parametrize("kind", codec.QUANTISERS)
@pytest.mark.parametrize("value", [0, 1, -1e6, 1e30])
def test_codes_that_are_all_the_same_can_be_quantised(kind, value):
    values = np.full((10, 3), value, np.float32)
    quantiser = codec.QUANTISERS[kind](values, 3)
    assert quantiser.decode(quantiser.encode(values)) == pytest.approx(values)


def test_a_quantiser_takes_a_sample_of_many_codes(monkeypatch):
    monkeypatch.setattr(quantise, "SAMPLE", 1000)
    values = np.zeros((5000, 4), np.float32)
    values[:, 3] = 1  # equal steps of 4 would see one channel only
    assert codec.lloyd_max(values, 1).levels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([0.0, 1.0], "float32"),
        (np.float32([0, 1, 2]), "2, 4, 8"),
        (np.float32([1, 1]), "ascending"),
        (np.float32([0, np.nan]), "finite"),
    ],
)
def test_wrong_levels_are_refused(levels, says):
    with pytest.raises(ValueError, match=says):
        codec.Quantiser("uniform", np.asarray(levels))


def test_wrong_codes_are_refused():
    quantiser = codec.uniform(codes(), 2)
    with pytest.raises(ValueError, match="NaN"):
        quantiser.encode(np.float32([[0, np.nan]]))
    with pytest.raises(ValueError, match="float32"):
        quantiser.encode(np.zeros((2, 2)))
    for bits in (0, 9, 2.5):
        with pytest.raises(ValueError, match="1 to 8"):
            codec.uniform(codes(), bits)
    for empty in (np.zeros(0), np.float32([np.inf])):
        with pytest.raises(ValueError, match="finite"):
            codec.lloyd_max(empty, 2)


# --- tables and entropy coders ----------------------------------------------------

COUNTS = np.array([[5, 2, 1, 0], [1, 1, 1, 1], [0, 0, 0, 9]])
SYMBOLS = np.array([[0, 1, 3], [1, 3, 3], [0, 2, 3], [2, 0, 3], [0, 1, 3]], np.uint8)


def test_frequencies_are_whole_numbers_worked_out_by_hand():
    tables = codec.frequencies(COUNTS)
    assert tables.dtype == np.uint16
    assert tables.tolist() == [
        [40_959, 16_384, 8_192, 1],  # 1 + 65,532 · 5 // 8, and 1 left over
        [16_384] * 4,
        [1, 1, 1, 65_533],
    ]


def test_the_streams_of_both_versions_stay_readable():
    """Bytes written once: if these change, the format has changed."""
    tables = codec.frequencies(COUNTS)
    streams = {
        "9613020038b2": lambda: StaticCoder(tables, version=1),
        "e208ed0ed536": lambda: AdaptiveCoder(3, 4, version=1),
        "3b0d020010b9": lambda: AdaptiveCoder(3, 4, tables, version=1),
        "499d": lambda: StaticCoder(tables),
        "1ea23cca": lambda: AdaptiveCoder(3, 4),
        "49c0": lambda: AdaptiveCoder(3, 4, tables),
    }
    for stream, coder in streams.items():
        assert coder().encode(SYMBOLS).hex() == stream
        assert (coder().decode(bytes.fromhex(stream), 5) == SYMBOLS).all()


@st.composite
def messages(draw) -> tuple[np.ndarray, np.ndarray]:
    """Symbols, and counts that need not fit them."""
    levels = 1 << draw(st.integers(1, 8))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 9)))
    symbols = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, levels - 1)))
    counts = arrays.arrays(
        np.int64, (shape[1], levels), elements=st.integers(0, 1_000_000)
    )
    return symbols, draw(counts.filter(lambda c: (c.sum(axis=1) > 0).all()))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(messages())
def test_decoding_restores_the_symbols(message):
    symbols, counts = message
    tables = codec.frequencies(counts)
    assert (tables.sum(axis=1) == 65_536).all() and tables.min() >= 1
    for make in (
        lambda: StaticCoder(tables),
        lambda: AdaptiveCoder(*tables.shape),
        lambda: AdaptiveCoder(*tables.shape, tables),
    ):
        stream = make().encode(symbols)
        assert (make().decode(stream, len(symbols)) == symbols).all()


def skewed(count: int, numbers: int, levels: int = 16) -> np.ndarray:
    """Symbols of which some are frequent."""
    values = np.random.default_rng(0).exponential(levels / 8, (count, numbers))
    return np.minimum(values, levels - 1).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (4_000, 16), (777, 37), (60, 20_001)])
def test_streams_are_as_short_as_the_symbols_allow(shape):
    symbols = skewed(*shape)
    tables = codec.frequencies(codec.count_levels(symbols, 16))
    stream = StaticCoder(tables).encode(symbols)
    assert (StaticCoder(tables).decode(stream, len(symbols)) == symbols).all()
    lanes = min(256, symbols.size // 4096)
    ideal = codec.ideal_bits(symbols, tables) / 8
    spare = 4 * lanes if symbols.size >= 8192 else 0
    assert ideal - 1 <= len(stream) <= 1.002 * ideal + spare + 1


def test_short_streams_waste_less_than_a_byte():
    symbols = skewed(3_000, 16)
    tables = codec.frequencies(codec.count_levels(symbols, 16))
    coder = StaticCoder(tables)
    for count in (1, 2, 7, 100, 511):
        for start in range(0, 3_000 - count, 311):
            part = symbols[start : start + count]
            stream = coder.encode(part)
            assert (coder.decode(stream, count) == part).all()
            ideal = codec.ideal_bits(part, tables) / 8
            assert len(stream) < 1.001 * ideal + 1
            assert not stream or stream[-1]  # a zero there could be left out


def test_each_short_stream_is_the_only_one_for_its_symbols():
    """So a changed byte gives other symbols, or an error."""
    coder = StaticCoder(codec.frequencies(np.array([[900, 60, 30, 10]] * 4)))
    found = 0
    for number in range(1 << 16):
        stream = number.to_bytes(2, "big").rstrip(b"\0")
        try:
            symbols = coder.decode(stream, 1)
        except CorruptFile:
            continue
        found += 1
        assert coder.encode(symbols) == stream
    assert 50 < found < 256  # of 256 messages; the rarest have longer streams


@pytest.mark.parametrize("levels", [2, 256])
def test_certain_and_rare_symbols_in_short_streams(levels):
    """Certain ones cost nothing; each rare one costs 16 bits, and is the last level."""
    counts = np.zeros((1, levels), np.int64)
    counts[0, 0] = 1
    coder = StaticCoder(codec.frequencies(counts))
    likely = np.zeros((1000, 1), np.uint8)
    rare = np.full((1000, 1), levels - 1, np.uint8)
    assert coder.encode(likely) == b""
    assert len(coder.encode(rare)) == pytest.approx(2000, rel=0.01)
    for symbols in (likely, rare):
        assert (coder.decode(coder.encode(symbols), 1000) == symbols).all()


def test_broken_short_streams_are_refused():
    symbols = skewed(100, 8)
    coder = StaticCoder(codec.frequencies(codec.count_levels(symbols, 16)))
    stream = coder.encode(symbols)
    for broken in (stream + b"\0", stream + b"\1", stream * 2):
        with pytest.raises(CorruptFile, match=r"does not end|not that of any"):
            coder.decode(broken, 100)
    with pytest.raises(CorruptFile, match="not that of any symbols"):
        coder.decode(b"\xff" * len(stream), 100)


def test_ideal_bits_are_the_entropy_where_the_tables_fit():
    symbols = np.repeat(np.uint8([[0], [0], [0], [1]]), 1000, axis=0)
    tables = codec.frequencies(codec.count_levels(symbols, 2))
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert codec.ideal_bits(symbols, tables) == pytest.approx(4000 * entropy, rel=1e-6)


def test_the_adaptive_coder_learns():
    symbols = skewed(3_000, 16)
    wrong = codec.frequencies(codec.count_levels(15 - symbols, 16))
    right = codec.frequencies(codec.count_levels(symbols, 16))
    least = len(StaticCoder(right).encode(symbols))
    # Without tables it has to learn 15 numbers at each position.
    assert len(AdaptiveCoder(16, 16).encode(symbols)) < 1.05 * least
    assert len(AdaptiveCoder(16, 16, right).encode(symbols)) < 1.01 * least
    adapted = len(AdaptiveCoder(16, 16, wrong).encode(symbols))
    assert adapted < len(StaticCoder(wrong).encode(symbols)) / 2


def test_the_adaptive_coder_continues_with_its_counts():
    symbols = skewed(900, 4)
    writer, reader = AdaptiveCoder(4, 16), AdaptiveCoder(4, 16)
    streams = [writer.encode(part) for part in (symbols[:400], symbols[400:])]
    assert len(streams[1]) < len(AdaptiveCoder(4, 16).encode(symbols[400:]))
    for stream, part in zip(streams, (symbols[:400], symbols[400:]), strict=True):
        assert (reader.decode(stream, len(part)) == part).all()


def test_broken_streams_are_refused():
    symbols = skewed(2_000, 8)
    tables = codec.frequencies(codec.count_levels(symbols, 16))
    coder = StaticCoder(tables)
    stream = coder.encode(symbols)
    for broken, says in (
        (stream[:-2], "ends too early|does not end"),
        (stream[:-1], "is impossible for"),
        (stream[:8], "is impossible for"),
        (stream + bytes(2), "does not end"),
        (bytes(4) + stream[4:], "invalid state"),
        (b"", "is impossible for"),
    ):
        with pytest.raises(CorruptFile, match=says):
            coder.decode(broken, len(symbols))
    with pytest.raises(CorruptFile):
        coder.decode(stream, len(symbols) + 1)


def test_wrong_symbols_and_tables_are_refused():
    coder = StaticCoder(codec.frequencies(COUNTS))
    for symbols, says in (
        (SYMBOLS.astype(int), "uint8"),
        (SYMBOLS[:, :2], "3"),
        (SYMBOLS + 2, "symbol 5 is not below 4"),
        (SYMBOLS[:0], "no symbols"),
    ):
        with pytest.raises(ValueError, match=says):
            coder.encode(symbols)
    with pytest.raises(ValueError, match="no row all 0"):
        codec.frequencies(np.zeros((1, 4), int))
    for tables, says in (
        (np.full((2, 4), 16_384), "uint16"),
        (np.full((2, 3), 21_845, np.uint16), "2 to 256"),
        (np.full((2, 4), 16_383, np.uint16), "65536"),
        (np.uint16([[0, 32_768, 16_384, 16_384]]), "above 0"),
    ):
        with pytest.raises(ValueError, match=says):
            StaticCoder(tables)


# --- models -----------------------------------------------------------------------


def test_a_saved_model_is_read_back(model):
    found = codec.find_model(model.run.folder)
    assert found.id == model.id == f"{tiny.NAME}:lloyd-max4"
    assert (found.quantiser.levels == model.quantiser.levels).all()
    assert (found.tables == model.tables).all() and found.tables.dtype == np.uint16
    assert found.checksum == model.checksum and len(found.checksum) == 32
    assert found.fitted == {"images": 500}
    assert (found.symbols(IMAGES) == model.symbols(IMAGES)).all()


def test_a_model_combines_run_and_quantiser(model):
    symbols = model.symbols(IMAGES)
    assert (symbols == model.quantiser.encode(model.run.encode(IMAGES))).all()
    blocks = model.quantiser.levels[symbols].reshape(-1, 4, 4)
    wanted = np.rint(255 * np.clip(blocks, 0, 1)).astype(np.uint8)
    assert (model.images(symbols)[:, ::7, ::7] == wanted).all()


def test_fitting_takes_levels_and_tables_from_the_images(model):
    coded = model.run.encode(tiny.images(500))
    assert (codec.lloyd_max(coded, 4).levels == model.quantiser.levels).all()
    counts = codec.count_levels(model.quantiser.encode(coded), 16)
    assert (codec.frequencies(counts) == model.tables).all()


def test_the_checksum_covers_all_that_decoding_uses(model, tmp_path):
    quantiser = model.quantiser
    levels = quantiser.levels.copy()
    levels[-1] = np.nextafter(levels[-1], np.float32(9))
    tables = model.tables.copy()
    tables[3, [tables[3].argmin(), tables[3].argmax()]] += np.uint16([1, 65_535])
    other = tiny.write_run(tmp_path, gain=0.5)
    changed = [
        replace(model, quantiser=replace(quantiser, levels=levels)),
        replace(model, tables=tables),
        replace(model, run=other),
    ]
    assert len({m.checksum for m in [model, *changed]}) == 4
    assert len({m.digest for m in [model, *changed]}) == 4
    assert replace(model, search=5.0).digest == model.digest


def test_the_id_does_not_depend_on_how_the_decoder_is_stored(model, tmp_path):
    """Other names, another order, other metadata, constants in nodes, other scales."""
    run = tiny.write_run(tmp_path)
    proto = onnx.load_from_string((run.folder / "decoder.onnx").read_bytes())
    graph = proto.graph
    for tensor in list(graph.initializer):
        other = f"weights/{tensor.name}"
        for node in graph.node:
            node.input[:] = [other if n == tensor.name else n for n in node.input]
        tensor.name = other
    scales = next(t for t in graph.initializer if t.name.endswith("scales"))
    (resize,) = (n for n in graph.node if n.op_type == "Resize")
    graph.initializer.remove(scales)
    scales.name = resize.input[2]
    constant = onnx.helper.make_node("Constant", [], [resize.input[2]], value=scales)
    graph.node.insert(0, constant)
    kept = list(graph.initializer)
    del graph.initializer[:]
    graph.initializer.extend(kept[::-1])
    proto.producer_name, graph.name = "another exporter", "other"
    content = proto.SerializeToString()
    assert content != (run.folder / "decoder.onnx").read_bytes()
    (run.folder / "decoder.onnx").write_bytes(content)
    other = replace(model, run=codec.read_run(run.folder))
    assert other.digest == model.digest and other.checksum != model.checksum
    file = codec.compress(IMAGES, model)
    assert (codec.decompress(file, other) == codec.decompress(file, model)).all()


def test_the_weights_count_and_not_their_order():
    node = onnx.helper.make_node
    nodes = [node("Mul", ["code", "a"], ["c"]), node("Add", ["c", "b"], ["images"])]
    ends = ("code", (3,)), ("images", (3,))
    a, b = np.float32([1, 2, 3]), np.float32([[4, 5, 6]])

    def digest(**weights):
        return identity.weights_digest(tiny.onnx_model(nodes, *ends, weights))

    assert digest(a=a, b=b) == digest(b=b, a=a)
    others = [digest(a=a, b=b + 1), digest(a=a, b=b[0]), digest(a=a[::-1], b=b)]
    assert len({digest(a=a, b=b), *others}) == 4
    nodes = [node("Mul", ["code", "a"], ["images"])]
    assert digest(a=a) != digest(a=a[None])  # a shape counts too


def test_models_are_never_overwritten(tmp_path):
    first = tiny.make_model(tmp_path)
    path = first.save()  # the same one: nothing happens
    before = path.read_bytes()
    second = codec.fit(first.run, tiny.images(300, seed=3))
    assert second.id == first.id and second.digest != first.digest
    other = second.save()
    assert other != path and path.read_bytes() == before
    assert codec.find_model(first.run.folder).digest == second.digest  # the newest
    assert [codec.find_model(p).digest for p in (path, other)] == [
        first.digest,
        second.digest,
    ]
    with pytest.raises(CodecError, match="never replaced"):
        replace(first, search=4.0).save()
    assert path.read_bytes() == before
    assert codec.fit(first.run, tiny.images(300, seed=4)).save() not in (path, other)


def test_models_are_found_by_id(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "MODELS_FOLDER", tmp_path / "package")
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    first = tiny.make_model(tmp_path / "package")
    second = codec.fit(first.run, tiny.images(300, seed=3))
    second.save()
    tiny.make_model(tmp_path / "reference")  # the first one again
    assert codec.find_model(first.id).digest == second.digest
    for model in (first, second):
        digits = model.digest.hex()
        for name in (digits, digits[:8], digits[:6], f"{model.id}-{digits[:8]}"):
            assert codec.find_model(name).digest == model.digest
        wanted = model.images(model.symbols(IMAGES))
        assert (codec.decompress(codec.compress(IMAGES, model)) == wanted).all()
    with pytest.raises(CodecError, match="no model 00000000 was found; the models"):
        codec.find_model("00000000")
    digits = first.digest.hex()
    with pytest.raises(CodecError, match="no model"):
        codec.find_model(digits[:-1] + ("0" if digits[-1] != "0" else "1"))


def test_an_id_of_several_models_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "MODELS_FOLDER", tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path / "none"))
    run, made = tiny.write_run(tmp_path), {}
    for seed in range(300):  # until two ids start with the same digit
        model = codec.fit(run, tiny.images(20, seed=seed))
        model.save()
        first = made.setdefault(model.digest.hex()[0], model)
        if first is not model:
            break
    monkeypatch.setattr(locate, "_ID", re.compile("[0-9a-f]"))
    with pytest.raises(CodecError, match=r"models .* and .* have ids that start with"):
        codec.find_model(model.digest.hex()[0])


def test_a_test_vector_finds_a_runtime_that_computes_otherwise(tmp_path):
    made = tiny.make_model(tmp_path)
    (path,) = made.run.folder.glob("codec-*.npz")
    with np.load(path) as file:
        content = dict(file)
    wanted = content["test_images"].astype(int)
    assert len(np.unique(content["test_symbols"])) > 3
    for off, fits in ((1, True), (2, False)):
        moved = np.where(wanted > 100, wanted - off, wanted + off).astype(np.uint8)
        np.savez(path, **(content | {"test_images": moved}))
        model = codec.Model.load(path)
        symbols = made.symbols(IMAGES)
        if fits:
            assert (model.images(symbols) == made.images(symbols)).all()
        else:
            with pytest.raises(CodecError, match="computes other images here"):
                model.images(symbols)
    for name in ("test_images", "test_symbols"):
        np.savez(path, **(content | {name: content[name][:2]}))
        with pytest.raises(CodecError, match="codes and"):
            codec.Model.load(path)


def test_a_model_without_an_id_only_reads(tmp_path):
    """As `caebook model make` wrote them for version 1."""
    made = tiny.make_model(tmp_path)
    (path,) = made.run.folder.glob("codec-*.npz")
    with np.load(path) as file:
        content = dict(file)
    about = json.loads(str(content["about"]))
    keep = ("model", "quantiser", "checksum", "fitted")
    old = {"schema": 1} | {key: about[key] for key in keep}
    path.unlink()
    np.savez(
        made.run.folder / "codec-lloyd-max4.npz",
        about=np.array(json.dumps(old)),
        levels=content["levels"],
        tables=content["tables"],
    )
    model = codec.find_model(made.run.folder)
    file = version1.compress(IMAGES, made)
    assert (codec.decompress(file, model) == made.images(made.symbols(IMAGES))).all()
    for use in (
        lambda: codec.compress(IMAGES, model),
        lambda: codec.decompress(codec.compress(IMAGES, made), model),
    ):
        with pytest.raises(CodecError, match="make it again"):
            use()


def test_an_id_needs_onnx_and_the_error_says_so(tmp_path, monkeypatch):
    run = tiny.write_run(tmp_path)
    model = codec.fit(run, IMAGES)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CodecError, match="needs the package onnx; install"):
        model.save()
    monkeypatch.undo()
    (run.folder / "decoder.onnx").write_bytes(b"none")
    with pytest.raises(CodecError, match="not an ONNX model"):
        codec.fit(run, IMAGES).save()


def test_mismatched_parts_of_a_model_are_refused(model):
    with pytest.raises(ValueError, match=r"needs tables of shape \(16, 4\)"):
        replace(model, quantiser=codec.uniform(codes(), 2))
    record = model.run.record.model_copy(update={"kind": "classifier"})
    with pytest.raises(ValueError, match="no autoencoder"):
        replace(model, run=replace(model.run, record=record))
    with pytest.raises(CodecError, match="no codes to store"):
        codec.fit(replace(model.run, record=record), IMAGES)
    with pytest.raises(ValueError, match="none of"):
        codec.fit(model.run, IMAGES, kind="best")


def test_a_network_that_returns_nan_is_named(tmp_path):
    run = tiny.write_run(tmp_path, gain=np.nan)
    model = codec.fit(run, IMAGES)
    with pytest.raises(CodecError, match=f"{tiny.NAME} cannot be used"):
        model.images(model.symbols(IMAGES))
    (run.folder / "encoder.onnx").write_bytes(b"none")
    with pytest.raises(CodecError, match="ONNX model that can be run"):
        codec.fit(codec.read_run(run.folder), IMAGES)


def test_damaged_models_are_refused(tmp_path):
    path = tiny.make_model(tmp_path).save()
    sound = path.read_bytes()
    for damaged in (
        b"",
        b"junk",
        sound[:200],
        sound[:-1],
        flip(sound, len(sound) // 2),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CodecError, match=re.escape(str(path))):
            codec.find_model(path)
    for changes in (
        {"about": np.array("[]")},
        {"about": np.array("{")},
        {"levels": np.zeros(16, np.float32)},
        {"tables": np.zeros((16, 16), np.uint16)},
        {"tables": np.array([{}])},  # a pickle
    ):
        path.write_bytes(sound)
        with np.load(path) as file:
            content = {**file, **changes}
        np.savez(path, **content)
        with pytest.raises(CodecError, match=re.escape(str(path))):
            codec.find_model(path)


def test_a_changed_decoder_is_refused(tmp_path):
    model = tiny.make_model(tmp_path)
    (model.run.folder / "decoder.onnx").write_bytes(tiny.decoder(4, gain=0.9))
    with pytest.raises(CodecError, match="has changed"):
        codec.find_model(model.run.folder)


def test_models_are_found_by_name_in_the_package_and_in_builds(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "MODELS_FOLDER", tmp_path / "package")
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    with pytest.raises(CodecError, match="there are none yet"):
        codec.find_model()
    build = tmp_path / "build" / "reader" / "runs"
    first = tiny.make_model(build)
    assert codec.find_model(first.id).run.folder.parent == build
    second = tiny.make_model(tmp_path / "package", bits=2)
    assert codec.find_model(second.id).run.folder.parent == tmp_path / "package"
    with pytest.raises(CodecError, match=f"models here are .*{re.escape(first.id)}"):
        codec.find_model("other-keras-mnist-s0:uniform3")
    # Two models of one name: a file's checksum tells which.
    other = codec.fit(tiny.write_run(tmp_path / "reference", gain=0.5), IMAGES)
    other.save()
    assert codec.find_model(first.id).checksum == other.checksum
    assert codec.find_model(first.id, first.checksum[:8]).checksum == first.checksum
    with pytest.raises(CodecError, match="made again"):
        codec.find_model(first.id, b"\0" * 8)


def test_the_error_for_a_folder_without_one_model_gives_the_remedy(tmp_path):
    with pytest.raises(CodecError, match="neither a model's name nor the folder"):
        codec.find_model(tmp_path)
    run = tiny.write_run(tmp_path)
    with pytest.raises(CodecError, match="caebook model make"):
        codec.find_model(run.folder)
    for bits in (2, 3):
        codec.fit(run, IMAGES, bits).save()
    with pytest.raises(CodecError, match=r"max2-\w+\.npz or .*max3-\w+\.npz"):
        codec.find_model(run.folder)
    (path,) = run.folder.glob("codec-lloyd-max3-*.npz")
    assert codec.find_model(path).quantiser.bits == 3


def test_a_packaged_run_decodes_the_same_with_another_last_layer(model, tmp_path):
    run = codec.package(model.run, tmp_path / "models")
    assert run.folder == tmp_path / "models" / model.run.name
    kernels = convolutions((run.folder / "decoder.onnx").read_bytes())
    assert kernels == [(9, 1, 1, 1), (1, 9, 3, 3)]
    values = codes((20, 4, 4, 1))
    assert run.decode(values) == pytest.approx(model.run.decode(values), abs=1e-6)
    # The copy may hold models: it stays, and other networks do not replace it.
    (run.folder / "codec-lloyd-max4-00000000.npz").write_bytes(b"kept")
    assert codec.package(model.run, tmp_path / "models").folder == run.folder
    other = tiny.write_run(tmp_path / "other", gain=0.5)
    with pytest.raises(CodecError, match="exists already, with other networks"):
        codec.package(other, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [run.name]
    assert len(list(run.folder.iterdir())) == 4


def convolutions(content: bytes) -> list[tuple[int, ...]]:
    graph = onnx.load_from_string(content).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return [shapes[node.input[1]] for node in graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
def test_split_convolutions_compute_the_same(pads, early):
    """With a 2 × 2 kernel and a bias, after an upsampling."""
    rng = np.random.default_rng(0)
    weights = {
        "wide": rng.normal(size=(3, 2, 3, 3)).astype(np.float32),
        "scales": np.float32([1, 1, 2, 2]),
        "narrow": rng.normal(size=(1, 3, 2, 2)).astype(np.float32),
        "bias": np.float32([0.3]),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["code", "wide"], ["a"], pads=[1, 1, 1, 1]),
        node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        node("Conv", ["b", "narrow", "bias"], ["images"], pads=pads),
    ]
    side = 10 + pads[0] + pads[2] - 1
    made = tiny.onnx_model(
        nodes, ("code", (2, 5, 5)), ("images", (1, side, side)), weights
    )
    split = split_narrow_convolutions(made, early)
    assert convolutions(split) == [(3, 2, 3, 3), (4, 3, 1, 1), (1, 4, 2, 2)]
    kinds = [node.op_type for node in onnx.load_from_string(split).graph.node]
    assert kinds.index("Resize") == (2 if early else 1)
    values = rng.normal(size=(4, 2, 5, 5)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(content).run(None, {"code": values})[0]
        for content in (made, split)
    )
    assert after == pytest.approx(before, abs=1e-5)


def test_a_decoder_is_split_late_where_splitting_early_is_wrong(tmp_path):
    """Before the last layer, this network mixes channels and columns."""
    run = tiny.write_run(tmp_path)
    node = onnx.helper.make_node
    nodes = [
        node("Squeeze", ["code", "last"], ["a"]),  # N, 4, 4: 4 channels of 4 pixels
        node("Reshape", ["a", "shape"], ["b"]),
        node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
        node("Conv", ["c", "kernel"], ["d"], pads=[1, 1, 1, 1]),
        node("Squeeze", ["d", "channel"], ["images"]),
    ]
    weights = {
        "last": np.array([3]),
        "shape": np.array([-1, 4, 2, 2]),
        "scales": np.float32([1, 1, 14, 14]),
        "channel": np.array([1]),
        "kernel": np.random.default_rng(0).random((1, 4, 3, 3), np.float32) / 36,
    }
    made = tiny.onnx_model(nodes, ("code", (4, 4, 1)), ("images", (28, 28)), weights)
    (run.folder / "decoder.onnx").write_bytes(made)
    run = codec.read_run(run.folder)
    packaged = codec.package(run, tmp_path / "models")
    values = codes((20, 4, 4, 1))
    assert packaged.decode(values) == pytest.approx(run.decode(values), abs=1e-5)
    assert len(convolutions((packaged.folder / "decoder.onnx").read_bytes())) == 2


# --- files ------------------------------------------------------------------------


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("coder", codec.CODERS)
@pytest.mark.parametrize("count", [1, 40])
def test_decompressing_gives_the_models_reconstructions(model, coder, count):
    images = IMAGES[:count]
    done = []
    parts = codec.compressed(images, model, coder, done.append)
    found = codec.decompress(b"".join(parts), model)
    assert (found == model.images(model.symbols(images))).all()
    assert found.dtype == np.uint8 and found.shape == images.shape
    assert sum(done) == count


@pytest.mark.parametrize("coder", codec.CODERS)
def test_files_made_earlier_stay_readable(coder):
    """Written before the package was divided; the images are strokes and rings."""
    content = (DATA / f"earlier-{coder}.cae").read_bytes()
    header = codec.examine(io.BytesIO(content)).header
    assert header.model == codec.DEFAULT_MODEL == "code16-keras-mnist-s0:lloyd-max4"
    assert header.checksum.hex() == "ca4e3d89e667467f"
    assert (header.version, header.coder, header.count) == (1, coder, 20)
    model = codec.find_model(header.model, header.checksum)
    with np.load(DATA / "earlier.npz") as file:
        originals, symbols, images = (
            file[n] for n in ("originals", "symbols", "images")
        )
    found = codec.decompress(content).astype(int)
    # Processors add the network's floats in different orders, so pixels may differ.
    assert np.abs(found - images).max() <= 2
    assert np.square(found - originals.astype(int)).mean() / 255**2 < 0.03
    assert np.abs(model.images(symbols).astype(int) - images).max() <= 2
    # A number halfway between two levels may be rounded otherwise.
    assert np.mean(model.symbols(originals) != symbols) <= 0.01


def fields_of_the_page(content: bytes, title: str) -> dict[str, bytes]:
    """The fields of a header, as a table on the format's page divides it."""
    page = (root() / "book" / "format.md").read_text(encoding="utf-8")
    table = page.partition(f"| {title} |")[2].partition("\n\n")[0]
    fields, at = {}, 0
    for offset, size, name in re.findall(
        r"^\| (\d+) \| (\d+) \| ([a-z ]+)", table, re.MULTILINE
    ):
        assert int(offset) == at
        at += int(size)
        fields[name.strip()] = content[int(offset) : at]
    return fields


def test_files_of_version_1_have_the_layout_of_the_formats_page(model):
    content = version1.compress(IMAGES, model)
    fields = fields_of_the_page(content, "field of version 1")
    assert sum(map(len, fields.values())) == 32

    def number(name):
        return int.from_bytes(fields[name], "little")

    assert fields["magic"] == b"\x89CAE"
    assert number("version") == 1
    assert number("quantiser") == {"uniform": 1, "lloyd-max": 2}["lloyd-max"]
    assert number("bits") == 4
    assert number("entropy coder") == 1
    assert number("precision") == 16
    assert number("unused") == 0
    assert number("images") == len(IMAGES)
    assert (number("height"), number("width"), number("numbers")) == (28, 28, 16)
    assert fields["checksum"] == model.checksum[:8]
    at = 32 + number("length of name")
    assert content[32:at].decode() == model.id
    stream = StaticCoder(model.tables, version=1).encode(model.symbols(IMAGES))
    rest = struct.pack("<I", len(stream)) + stream
    assert content[at:-4] == rest
    assert content[-4:] == struct.pack("<I", zlib.crc32(content[:-4]))


def test_files_have_the_layout_of_the_formats_page(model, content):
    fields = fields_of_the_page(content, "field of the header")
    assert list(map(len, fields.values())) == [4, 1, 1, 1, 4]
    assert fields["magic"] == b"\x89CAE"
    numbers = [fields[name][0] for name in ("version", "length", "entropy coder")]
    assert numbers == [2, 5, 1]
    assert fields["model"] == model.digest[:4]
    stream = StaticCoder(model.tables).encode(model.symbols(IMAGES))
    payload = bytes([40]) + stream
    assert len(payload) > 127  # so its length takes two bytes
    length = bytes([len(payload) % 128 + 128, len(payload) // 128])
    assert content[11:-4] == bytes([1 + 64]) + length + payload
    assert content[-4:] == struct.pack("<I", zlib.crc32(content[:-4]))


def change(offset: int, value: int, size: int = 1):
    """Damage that changes a field and recomputes the checksum."""

    def forge(content: bytes) -> bytes:
        end = offset + size
        field = value.to_bytes(size, "little")
        return seal(content[:offset] + field + content[end:])

    return forge


LENGTH_AT = 32 + len(f"{tiny.NAME}:lloyd-max4")
FORGERIES = {
    "nothing": (lambda content: b"", "not a .cae file"),
    "text": (lambda content: b"GIF89a, or anything else", "not a .cae file"),
    "magic alone": (lambda content: content[:4], "within the header"),
    "half a header": (lambda content: content[:20], "truncated: 20 bytes"),
    "header alone": (lambda content: content[:LENGTH_AT], "before block 1"),
    "half": (lambda content: content[: len(content) // 2], "within block 1"),
    "last byte": (lambda content: content[:-1], "within block 1"),
    "more": (lambda content: content + b"\0", "1 more bytes"),
    "flip": (lambda content: flip(content, LENGTH_AT + 9), "not match its checksum"),
    "version": (change(4, 3), "of version 3"),
    "quantiser": (change(5, 9), "unknown quantiser 9"),
    "other quantiser": (change(5, 1), "does not match the model"),
    "0 bits": (change(6, 0), "0 bits"),
    "9 bits": (change(6, 9), "9 bits"),
    "5 bits": (change(6, 5), "does not match the model"),
    "coder": (change(7, 3), "unknown entropy coder 3"),
    "other coder": (change(7, 2), "stream"),
    "precision": (change(8, 12), "tables of 12 bits"),
    "name": (change(9, 3), "invalid name of a model"),
    "long name": (change(9, 255), "invalid name of a model"),
    "bad name": (change(33, 47), "invalid name of a model"),
    "other name": (change(32, ord("u")), "not with"),
    "unused": (change(11, 1), "unused bytes"),
    "no images": (change(12, 0, 4), "no images"),
    "one image less": (change(12, 39, 4), "stream"),
    "one image more": (change(12, 41, 4), "stream"),
    "many images": (change(12, 20_000, 4), "within block|impossible|before block"),
    "most images": (change(12, 2**32 - 1, 4), "impossible|before block"),
    "height": (change(16, 29, 2), "28×29"),
    "width": (change(18, 65535, 2), "65535×28"),
    "no numbers": (change(20, 0, 4), "without numbers"),
    "more numbers": (change(20, 17, 4), "does not match the model"),
    "most numbers": (change(20, 2**32 - 1, 4), "impossible|before block"),
    "checksum": (change(24, 0, 8), "not with"),
    "no block": (change(LENGTH_AT, 0, 4), "impossible"),
    "long block": (change(LENGTH_AT, 2**32 - 1, 4), "within block 1"),
    "short block": (change(LENGTH_AT, 30, 4), "more bytes"),
    "stream": (lambda content: seal(flip(content, LENGTH_AT + 9)), "stream"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_files_of_version_1_are_refused_with_a_reason(model, name):
    forge, says = FORGERIES[name]
    with pytest.raises(CorruptFile, match=says):
        codec.decompress(forge(version1.compress(IMAGES, model)), model)


def test_more_images_than_the_limit_are_refused(model, content):
    with pytest.raises(CorruptFile, match="the limit is 39"):
        codec.decompress(content, model, max_images=39)
    assert len(codec.decompress(content, model, max_images=40)) == 40


def test_invalid_images_are_refused(model):
    for images in (IMAGES[:, :14], IMAGES.astype(float), IMAGES[0], [1]):
        with pytest.raises(TypeError, match="images must be"):
            codec.compress(images, model)
    with pytest.raises(ValueError, match="at least one"):
        codec.compress(IMAGES[:0], model)
    with pytest.raises(ValueError, match="static, adaptive"):
        codec.compress(IMAGES, model, "best")


def test_mutated_files_are_decoded_or_refused_in_little_memory():
    """A short run of `mutate.py`, which says what is checked; the seed is fixed."""
    command = [sys.executable, str(Path(__file__).with_name("mutate.py"))]
    result = subprocess.run(
        [*command, "--count", "2000", "--seed", "1"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    # The damage must reach every layer, or this test proves little.
    for reached in (
        "decoded",
        "does not end",
        "damaged",
        "truncated",
        "are declared",
        "some saved",
        "is of kind",
    ):
        assert reached in result.stdout


def test_the_default_model_comes_with_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))  # not this checkout
    model = codec.find_model()
    assert model.id == codec.DEFAULT_MODEL
    assert model.run.folder.parent == locate.MODELS_FOLDER


def test_the_packaged_models_are_sound():
    for path in sorted(locate.MODELS_FOLDER.glob("*/codec-*.npz")):
        model = codec.Model.load(path)
        assert json.loads((path.parent / "run.json").read_text())
        assert codec.decompress(codec.compress(IMAGES, model)).shape == IMAGES.shape


def test_the_codec_imports_no_framework():
    code = (
        "import sys, caebook.codec\n"
        "frameworks = {'torch', 'tensorflow', 'keras'}\n"
        "sys.exit(bool(frameworks & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
