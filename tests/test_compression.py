"""The codecs of chapter 10, run from its notebook.

The cells tagged `codecs` define every ordinary way to store images, as a pair of
functions, and the function that measures them. They are executed here unchanged.
"""

import lzma
import os
import sys

import nbformat
import numpy as np
import PIL.features
import pytest
import tiny

from caebook import codec, data
from caebook import settings as profiles
from caebook.build.chapters import Build, tags
from caebook.data import glyphs
from caebook.files import root
from caebook.runs import findings

NOTEBOOK = root() / "notebooks" / "10_compression.ipynb"

# Measured by others before this book was written, on MNIST's 10,000 test images:
# (codec, setting) → bytes per image, MSE, UQI
ANCHORS = {
    ("bz2", "lossless"): (138.7, 0, 1),
    ("xz", "lossless"): (136.4, 0, 1),
    ("1 bit + bz2", "0 and 255"): (19.3, 0.0085, 0.902),
    ("1 bit + bz2", "class means"): (19.3, 0.0068, 0.765),
    ("grey levels + bz2", "4 levels"): (39.1, 0.0011, 0.972),
    ("grey levels + bz2", "8 levels"): (57.6, 0.0002147, 0.989),
    ("JPEG, sheet", "quality 5"): (42.4, 0.0088, 0.740),
    ("JPEG, files", "quality 5"): (213.7, 0.0088, 0.740),
    ("WebP, sheet", "quality 0"): (33.8, 0.0057, 0.796),
    ("PCA, ideal", "step 1"): (14.9, 0.0106, 0.730),
    ("PCA 16, uint8", "8 bits"): (16, 0.0254, 0.599),
}
CLOSE = 0.03


@pytest.fixture(scope="module")
def chapter():
    """The names that the cells tagged `codecs` define."""
    namespace = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "codecs" in tags(cell):
            exec(compile(cell.source, f"{NOTEBOOK.name}:{cell.id}", "exec"), namespace)
    return namespace


def thin(images, count):
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]


@pytest.fixture(scope="module")
def drawn():
    """Drawn digits: uint8 (1200, 28, 28) for training, (60, 28, 28) for testing."""
    training, _, test, _ = glyphs.draw("digits", seed=0, train=1_200, test=60)
    return training, test


@pytest.fixture(scope="module")
def methods(chapter, drawn):
    """Every ordinary method of the chapter, fitted to the drawn digits."""
    training, _ = drawn
    components = chapter["principal_components"](training)
    return [
        *chapter["general_methods"](training),
        *chapter["picture_methods"](),
        *chapter["transform_methods"](components, training),
        *chapter["cluster_methods"](training, components),
    ]


# The anchors


@pytest.fixture(scope="module")
def measured(chapter):
    """Points of the real test set, by codec and setting, where there are anchors."""
    folder = os.environ.get("CAEBOOK_DATA", "")
    if not folder or not os.path.isdir(os.path.join(folder, "mnist")):
        pytest.skip("real MNIST needed: set CAEBOOK_DATA")
    digits = data.load("mnist")
    components = chapter["principal_components"](digits.train_images)
    fitting = thin(digits.train_images, 10_000)
    ways = [
        *chapter["general_methods"](digits.train_images),
        *chapter["picture_methods"](),
        *chapter["transform_methods"](components, fitting),
    ]
    wanted = {(name.removesuffix(", ideal"), setting) for name, setting in ANCHORS}
    points = [
        point
        for way in ways
        if (way.codec, way.setting) in wanted
        for point in chapter["measure"](
            way, thin(digits.test_images, 10_000 // way.share)
        )
    ]
    return {(point["codec"], point["setting"]): point for point in points}


@pytest.mark.parametrize("which", ANCHORS, ids=" ".join)
def test_curves_reproduce_the_anchors(which, measured):
    size, error, quality = ANCHORS[which]
    point = measured[which]
    assert point["bytes"] == pytest.approx(size, rel=CLOSE)
    assert point["mse"] == pytest.approx(error, rel=CLOSE)
    assert point["uqi"] == pytest.approx(quality, rel=CLOSE)
    assert (point["psnr"] is None) == (error == 0)


def test_the_real_stream_is_close_to_the_ideal(measured):
    real, ideal = measured["PCA", "step 1"], measured["PCA, ideal", "step 1"]
    assert ideal["bytes"] < real["bytes"] < 1.02 * ideal["bytes"]
    assert (real["ideal"], ideal["ideal"]) == (False, True)


def test_one_bit_has_two_decodings(measured):
    plain, means = (measured["1 bit + bz2", n] for n in ("0 and 255", "class means"))
    assert plain["bytes"] == means["bytes"]
    assert means["mse"] < plain["mse"] and means["uqi"] < plain["uqi"]


# Bytes are counted on streams that are decoded again


def names_of(methods):
    return [f"{method.codec}, {method.setting}" for method in methods]


def test_no_two_methods_share_a_name(methods):
    assert len(set(names_of(methods))) == len(methods)
    families = {method.family for method in methods}
    assert families == {"general", "image codec", "transform", "clusters"}


def test_all_bytes_that_decoding_needs_are_counted(chapter, methods, drawn):
    """Decoding uses the streams alone, and all their bytes are counted."""
    _, test = drawn
    one, other = test[:30], test[30:]
    for method, name in zip(methods, names_of(methods), strict=True):
        streams, rest = method.encode(one), method.encode(other)
        assert all(isinstance(stream, bytes) for stream in (*streams, *rest)), name
        copies = method.decode(streams)
        assert copies.shape == one.shape and copies.dtype == np.uint8, name
        assert not np.array_equal(method.decode(rest), copies), name
        point = chapter["measure"](method, one)[0]
        assert point["bytes"] == sum(map(len, streams)) / len(one), name
        error = np.mean((copies / 255 - one / 255) ** 2)
        assert point["mse"] == pytest.approx(error, rel=1e-12), name
        assert point["ideal"] is False and point["images"] == 30, name


def test_lossless_methods_lose_nothing(methods, drawn):
    _, test = drawn
    lossless = [m for m in methods if m.setting == "lossless"]
    assert len(lossless) >= 4
    for method in lossless:
        assert np.array_equal(method.decode(method.encode(test)), test)


def test_images_stored_one_by_one_can_be_read_one_by_one(methods, drawn):
    _, test = drawn
    alone = [method for method in methods if method.alone]
    names = {"PNG, files", "PCA 16, uint8", "PCA, records", "DCT, records"}
    assert {m.codec for m in alone} >= names
    for method in alone:
        streams = method.encode(test)
        if len(streams) == 1:  # records of one length
            size = len(streams[0]) // len(test)
            streams = [streams[0][i * size :][:size] for i in range(len(test))]
        assert len(streams) == len(test)
        whole = method.decode(method.encode(test))
        assert np.array_equal(method.decode(streams[7:8])[0], whole[7])


def test_numbers_are_decoded_to_the_nearest_multiples_of_the_step(chapter, drawn):
    """The numbers, before a transform turns them into pixels."""
    training, test = drawn
    seen = []

    def forward(images):
        return images.reshape(-1, 784) / np.float32(10)

    def backward(numbers):
        seen.append(numbers)
        return np.zeros((len(numbers), 28, 28), np.uint8)

    both = np.concatenate([training, test])
    method = chapter["stepped"]("plain", 2, forward, backward, both)
    method.decode(method.encode(test))
    assert np.array_equal(seen[0], np.rint(forward(test) / 2) * 2)


def test_clusters_store_the_number_of_the_nearest_image(chapter, drawn):
    training, test = drawn
    components = chapter["principal_components"](training)
    pictures = chapter["typical_pictures"](training, components, 1_024)
    distances = np.square(
        test[:, None].reshape(-1, 1, 784).astype(int) - pictures.reshape(1, -1, 784)
    ).sum(axis=2)
    for method, size in zip(
        chapter["cluster_method"](pictures), (10 / 8, 2), strict=True
    ):
        streams = method.encode(test)
        copies = method.decode(streams)
        chosen = np.square(test.astype(int) - copies).sum(axis=(1, 2))
        assert np.allclose(chosen, distances.min(axis=1), rtol=1e-4)
        assert abs(sum(map(len, streams)) / len(test) - size) < 0.1


def test_more_clusters_give_a_smaller_error(chapter, methods, drawn):
    training, _ = drawn
    errors = [
        chapter["measure"](method, training)[0]["mse"]
        for method in methods
        if method.codec == "k-means"
    ]
    assert len(errors) == 4 and errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("count", [1, 7, 12, 60])
def test_a_sheet_is_cut_into_its_images(chapter, count, drawn):
    _, test = drawn
    sheet = chapter["sheet"](test[:count])
    assert sheet.size == count * 784
    assert np.array_equal(chapter["cut"](sheet), test[:count])
    assert np.array_equal(sheet[:28, :28], test[0])  # each image in one piece


def test_the_ideal_size_leaves_out_the_bytes_of_an_empty_file(chapter, methods, drawn):
    _, test = drawn
    empty = np.zeros((1, 28, 28), np.uint8)
    for method in methods:
        if method.codec.endswith("files") and method.family == "image codec":
            real, ideal = chapter["measure"](method, test)
            header = len(method.encode(empty)[0])
            assert ideal["bytes"] == pytest.approx(real["bytes"] - header)
            assert ideal["ideal"] and ideal["codec"] == f"{real['codec']}, ideal"


def test_missing_formats_are_left_out(chapter, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr(PIL.features, "check", lambda name: False)
    formats = {m.codec.split(",")[0] for m in chapter["picture_methods"]()}
    assert formats == {"PNG", "JPEG"}


# Networks


def test_networks_are_stored_as_files(chapter, tmp_path):
    model, images = tiny.make_model(tmp_path), tiny.images(30, seed=1)
    method = chapter["network"]("tiny, Keras", "keras", model, 1)
    (content,) = method.encode(images)
    assert codec.compress(images, model) == content
    copies = method.decode([content])
    assert np.array_equal(copies, model.images(model.symbols(images)))
    decoder = (tmp_path / tiny.NAME / "decoder.onnx").read_bytes()
    parts = (decoder, model.quantiser.levels.tobytes(), model.tables.tobytes())
    assert method.side == sum(len(lzma.compress(part, preset=1)) for part in parts)
    (point,) = chapter["measure"](method, images)
    assert (point["system"], point["framework"]) == ("tiny", "keras")


def test_networks_codes_can_be_stored_one_by_one(chapter, tmp_path):
    chapter["NAMES"] = {"keras": "Keras"}
    model, images = tiny.make_model(tmp_path), tiny.images(30, seed=1)
    packed, files = chapter["alone"]("keras", model)
    wanted = model.images(model.symbols(images))
    records = packed.encode(images)
    assert {len(record) for record in records} == {model.numbers // 2}
    assert np.array_equal(packed.decode(records), wanted)
    assert np.array_equal(packed.decode(records[3:4])[0], wanted[3])
    each = files.encode(images)
    assert len(each) == len(images) and min(map(len, each)) > 40
    assert np.array_equal(files.decode(each), wanted)


def test_levels_and_tables_are_fitted_as_the_codec_does(chapter, tmp_path):
    run, images = tiny.write_run(tmp_path), tiny.images(200)
    ours = chapter["fit"](run, run.encode(images), 3)
    theirs = codec.fit(run, images, 3)
    assert np.array_equal(ours.quantiser.levels, theirs.quantiser.levels)
    assert np.array_equal(ours.tables, theirs.tables)


# The bill: bytes and what a reader needs beforehand


@pytest.mark.parametrize(
    ("ours", "other", "answer"),
    [
        ((7, 100), (17, 0), 10),  # ours from the tenth on
        ((7, 100), (17, 5), 10),  # 9.5, to be whole
        ((7, 100), (17, 100), 0),
        ((7, 100), (17, 900), 0),
        ((7, 100), (5, 300), "up to 100"),
        ((7, 100), (5, 301), "up to 100"),
        ((7, 100), (7, 300), 0),
        ((7, 100), (5, 0), None),
        ((7, 100), (7, 100), None),
    ],
)
def test_break_even_tells_the_direction(chapter, ours, other, answer):
    rows = [{"bytes": pair[0], "side_bytes": pair[1]} for pair in (ours, other)]
    assert chapter["break_even"](*rows) == answer


def test_everything_that_a_reader_needs_is_counted_alike(chapter, drawn):
    training, _ = drawn
    mean, patterns = chapter["principal_components"](training)
    with_mean = chapter["sixteen_bytes"](
        lambda images: images.reshape(-1, 784) @ patterns,
        None,
        training,
        (mean, patterns),
    ).side
    parts = (mean.tobytes(), np.ascontiguousarray(patterns[:, :16]).tobytes())
    assert with_mean == sum(len(lzma.compress(part, preset=1)) for part in parts)
    pictures = chapter["typical_pictures"](training, (mean, patterns), 16)
    (clusters,) = chapter["cluster_method"](pictures)
    assert clusters.side == len(lzma.compress(pictures.tobytes(), preset=1))


# The chapter's findings


def test_findings_hold_every_network(smoke_book):
    build = Build.read(smoke_book)
    settings = profiles.configure(
        build.profile, build.digits, build.letters, build.seed, build.runs
    )
    rates = findings.load("10_rates", settings=settings)
    streams = findings.load("10_streams", settings=settings)
    pairs = {(row["system"], row["framework"]) for row in streams}
    assert len(streams) == len(pairs) == 12
    assert pairs == {(r["system"], r["framework"]) for r in rates if r["system"]}
    for row in rates:
        assert row["bytes"] > 0 and row["images"] > 0, row
        assert row["ideal"] == row["codec"].endswith(", ideal"), row
        assert (row["psnr"] is None) == (row["mse"] == 0), row
        assert (row["family"] == "autoencoder") == (row["system"] is not None), row
    for row in streams:
        assert 0 < row["ideal_bytes"] < row["bytes"], row
