"""The codecs that chapter 10 compares autoencoders with: `caebook.rivals`."""

import os
import sys

import numpy as np
import onnx
import PIL.features
import pytest
import tiny
from onnx import numpy_helper
from scipy import stats

from caebook import codec, data, rivals, runs
from caebook import settings as profiles
from caebook.build.chapters import Build
from caebook.data import glyphs
from caebook.evaluation import metrics
from caebook.evaluation.pca import PCA
from caebook.rivals import base, formats, networks, transforms, vectors
from caebook.runs import findings

# Measured by others before this book was written, on MNIST's 10,000 test images, and in
# a review of it ("i" where only an ideal code length was known, which is less):
# codec, whether alone, share of the images → bytes per image, MSE, UQI
ANCHORS = {
    "bz2, lossless": (False, 1, 138.7, 0, 1),
    "xz, lossless": (False, 1, 136.4, 0, 1),
    "1 bit + bz2, 0 and 255": (False, 1, 19.3, 0.0085, 0.902),
    "grey levels + contexts, 2 levels": (False, 1, 15.05, 0.0085, 0.902),  # i
    "grey levels + contexts, 2 levels, means": (False, 1, 15.05, 0.0068, 0.765),
    "grey levels + contexts, 4 levels": (False, 1, 26.7, 0.0011, 0.972),  # i
    "grey levels + JPEG XL, 2 levels": (False, 4, 16.0, 0.0085, 0.902),
    "grey levels + bz2, 4 levels": (False, 1, 39.1, 0.0011, 0.972),
    "grey levels + bz2, 8 levels": (False, 1, 57.6, 0.0002147, 0.989),
    "JPEG, quality 5": (False, 1, 42.4, 0.0088, 0.740),
    "JPEG, quality 5, files": (True, 10, 213.7, 0.0088, 0.740),
    "WebP, quality 0": (False, 1, 33.8, 0.0057, 0.796),
    "PCA, step 1": (False, 1, 14.9, 0.0106, 0.730),  # i
    "PCA 16, packed, 8 bits": (True, 10, 16, 0.0254, 0.599),
}
CLOSE = 0.03


@pytest.fixture(scope="module")
def drawn():
    """Drawn digits: uint8 (1200, 28, 28) for training, (60, 28, 28) for testing."""
    training, _, test, _ = glyphs.draw("digits", seed=0, train=1_200, test=60)
    return training, test


def made(training, pca):
    """Rivals that need neither network nor lists, learned from `training`."""
    bz2 = rivals.Lossless("bz2")
    chosen = {"PNG": (None,), "JPEG": (5, 25), "WebP": (None, 0)}
    chosen |= {"JPEG-LS": (None, 45), "JPEG 2000": (None, 20)}
    chosen |= {"AVIF": (10,), "JPEG XL": (None, 15)}
    found = [
        *(bz2, rivals.Lossless("xz"), rivals.OneBit(), rivals.OneBit(9, 190)),
        *(rivals.GreyLevels(count, bz2) for count in (4, 8)),
        rivals.GreyLevels(2, rivals.ContextCoder(2, 10), training),
        *(
            rivals.GreyLevels(count, rivals.ContextCoder(count, near))
            for count, near in ((2, 10), (4, 6))
        ),
        *rivals.image_formats(chosen),
        *(rivals.PrincipalComponents(pca, step, training) for step in (1, 2)),
        *(rivals.PackedComponents(pca, 16, bits, training) for bits in (4, 8)),
        rivals.CosineTransform(1, training),
    ]
    if formats.available("JPEG XL"):
        found.append(rivals.GreyLevels(2, rivals.ImageFormat("JPEG XL")))
    return by_name(found)


def by_name(found):
    return {f"{rival.name}, {rival.setting}": rival for rival in found}


@pytest.fixture(scope="module")
def pca(drawn):
    return PCA(drawn[0])


@pytest.fixture(scope="module")
def drawn_rivals(drawn, pca):
    lists = rivals.VectorQuantiser(pca, 4, 256, drawn[0])
    more = rivals.VectorQuantiser(pca, 1, 1_024, drawn[0])
    return made(drawn[0], pca) | by_name([lists, lists.first(1), more])


# The anchors


@pytest.fixture(scope="module")
def mnist_rivals():
    folder = os.environ.get("CAEBOOK_DATA", "")
    if not folder or not os.path.isdir(os.path.join(folder, "mnist")):
        pytest.skip("real MNIST needed: set CAEBOOK_DATA")
    digits = data.load("mnist")
    learned = PCA(digits.train_images)
    found = made(digits.train_images[::6], learned)
    return found, digits.test_images


@pytest.mark.parametrize("which", ANCHORS)
def test_rivals_reproduce_the_anchors(which, mnist_rivals):
    alone, share, size, error, quality = ANCHORS[which]
    found, images = mnist_rivals
    name = which.removesuffix(", files")
    if name not in found:
        pytest.skip(f"{name} cannot be written here")
    point = rivals.measure(found[name], images, share, alone)
    assert point.bytes == pytest.approx(size, rel=CLOSE)
    assert point.mse == pytest.approx(error, rel=CLOSE)
    assert point.uqi == pytest.approx(quality, rel=CLOSE)
    assert (point.psnr is None) == (error == 0)


# Bytes are counted on streams that are decoded again


def test_no_two_rivals_share_a_name(drawn_rivals):
    assert len(drawn_rivals) >= 15
    families = {rival.family for rival in drawn_rivals.values()}
    assert families == {"general", "image codec", "transform", "clusters"}


def test_all_bytes_that_decoding_needs_are_counted(drawn_rivals, drawn):
    """Decoding uses the stream alone, and all its bytes are counted."""
    one, other = drawn[1][:30], drawn[1][30:]
    for name, rival in drawn_rivals.items():
        stream, rest = rival.encode(one), rival.encode(other)
        assert type(stream) is type(rest) is bytes, name
        decoded = rival.decode(stream)
        assert decoded.shape == one.shape and decoded.dtype == np.uint8, name
        assert not np.array_equal(rival.decode(rest), decoded), name
        point = rivals.measure(rival, one)
        assert point.bytes == len(stream) / len(one), name
        errors = np.mean((decoded / 255 - one / 255) ** 2, axis=(1, 2))
        assert np.allclose(point.errors, errors, rtol=1e-12), name
        assert point.row()["images"] == 30 and not point.row()["ideal"], name


def test_error_of_a_mean_is_known(drawn):
    images = drawn[1][:30]
    point = rivals.measure(rivals.OneBit(), images)
    row, expected = point.row(), stats.sem(point.errors)
    assert row["mse_error"] == pytest.approx(expected) and expected > 0
    assert rivals.measure(rivals.OneBit(), images[:1]).row()["mse_error"] is None


def test_lossless_rivals_lose_nothing(drawn_rivals, drawn):
    lossless = [r for r in drawn_rivals.values() if r.setting == "lossless"]
    assert len(lossless) >= 3
    for rival in lossless:
        assert np.array_equal(rival.decode(rival.encode(drawn[1])), drawn[1])


def test_images_stored_one_by_one_are_decoded_one_by_one(drawn_rivals, drawn):
    images = drawn[1][:6]
    for name in ("PNG, lossless", "PCA 16, packed, 4 bits", "residual VQ, 4 × 256"):
        rival = drawn_rivals[name]
        point = rivals.measure(rival, images, alone=True)
        streams = [rival.encode(image[None]) for image in images]
        assert point.bytes == sum(map(len, streams)) / 6
        together = rival.decode(rival.encode(images))
        assert np.array_equal(rival.decode(streams[4])[0], together[4])


def test_one_in_so_many_images_is_measured_and_paired(drawn_rivals, drawn):
    rival = drawn_rivals["1 bit + bz2, 0 and 255"]
    every = rivals.measure(rival, drawn[1])
    second, third = (rivals.measure(rival, drawn[1], share) for share in (2, 3))
    assert np.array_equal(second.errors, every.errors[::2])
    assert len(third.errors) == 20
    for pair in (rivals.paired(second, third), rivals.paired(every, third)):
        assert np.array_equal(*pair)
    assert len(rivals.paired(second, third)[0]) == 10


def test_grey_levels_are_decoded_to_the_means_of_training_pixels():
    images = np.full((2, 28, 28), 10, np.uint8)
    images[0, :14], images[1, :7], images[1, 7:9] = 200, 180, 100
    rival = rivals.GreyLevels(2, rivals.Lossless("bz2"), images)
    dark = [10] * (28 * 33) + [100] * (28 * 2)
    wanted = round(np.mean(dark)), round((200 * 14 + 180 * 7) / 21)
    assert tuple(rival.levels) == wanted
    assert set(np.unique(rival.decode(rival.encode(images)))) == set(wanted)
    assert rival.side == 2


# Contexts


@pytest.mark.parametrize("count", [1, 31, 64, 200])
@pytest.mark.parametrize(("levels", "near"), [(2, 10), (4, 6), (8, 2)])
def test_contexts_restore_any_number_of_images(levels, near, count, drawn):
    images = drawn[0][:count] // (256 // levels)
    coder = rivals.ContextCoder(levels, near)
    stream = coder.encode(images)
    assert np.array_equal(coder.decode(stream), images)
    assert np.array_equal(rivals.ContextCoder(levels, near).decode(stream), images)


def test_contexts_learn_what_neighbours_say():
    """A level that its neighbour determines costs nearly nothing, and noise all."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, (200, 28, 28), dtype=np.uint8)
    assert 98 < len(rivals.ContextCoder(2, 10).encode(noise)) / 200 < 103
    rows = np.broadcast_to(noise[:, :, :1], noise.shape)  # each row one level
    few, none = (len(rivals.ContextCoder(2, n).encode(rows)) / 200 for n in (3, 1))
    assert few < 0.8 * none < 12


def test_contexts_see_only_what_was_decoded_before():
    for up, left in rivals.contexts.NEIGHBOURS:
        assert up > 0 or left > 0
    assert len(set(rivals.contexts.NEIGHBOURS)) == 10


def test_what_contexts_remember_is_of_the_same_images(drawn):
    coder, first, second = rivals.ContextCoder(2, 10), *(d[:30] // 128 for d in drawn)
    streams = [coder.encode(images) for images in (first, second, first)]
    assert streams[0] == streams[2] != streams[1]
    for stream, images in zip(streams, (first, second, first), strict=True):
        coder.decode(stream)[:] = 9  # a caller's copy
        assert np.array_equal(coder.decode(stream), images)


# Formats


@pytest.mark.parametrize("count", [1, 7, 12, 60])
def test_a_sheet_is_cut_into_its_images(count, drawn):
    sheet = formats.sheet(drawn[1][:count])
    assert sheet.size == count * 784
    assert np.array_equal(formats.cut(sheet), drawn[1][:count])
    assert np.array_equal(sheet[:28, :28], drawn[1][0])  # each image in one piece


def test_missing_formats_are_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr(PIL.features, "check", lambda name: False)
    optional = ("JPEG-LS", "JPEG 2000", "WebP", "AVIF", "JPEG XL")
    chosen = dict.fromkeys(("PNG", "JPEG", *optional), (50,))
    assert [r.name for r in rivals.image_formats(chosen)] == ["PNG", "JPEG"]
    for form in optional:
        with pytest.raises(ImportError, match=f"{form} cannot be written here"):
            rivals.ImageFormat(form)


def needs(form):
    return pytest.mark.skipif(not formats.available(form), reason=f"no {form}")


@needs("JPEG-LS")
def test_no_pixel_of_jpeg_ls_is_further_off_than_allowed(drawn):
    for allowed in (1, 45):
        rival = rivals.ImageFormat("JPEG-LS", allowed)
        copies = rival.decode(rival.encode(drawn[1]))
        assert np.abs(copies.astype(int) - drawn[1]).max() == allowed
    assert rival.setting == "error 45"


@needs("JPEG 2000")
def test_jpeg_2000_keeps_the_best_number_of_wavelet_transforms(drawn, monkeypatch):
    def measured(quality, tried):
        monkeypatch.setattr(formats, "RESOLUTIONS", tried)
        rival = rivals.ImageFormat("JPEG 2000", quality)
        stream = rival.encode(drawn[1])
        assert stream.startswith(b"\xff\x4f\xff\x51")  # a codestream without boxes
        point = rivals.measure(rival, drawn[1])
        return (point.bytes, 0) if quality is None else (point.mse, point.bytes)

    for quality in (None, 10, 20):
        tried = [measured(quality, [number]) for number in range(1, 5)]
        assert len(set(tried)) == 4
        best = measured(quality, range(1, 5))
        assert best == min(tried)
        assert quality is None or best[1] == pytest.approx(784 / quality, rel=0.05)


# Transforms and lists


def test_numbers_are_decoded_to_the_nearest_multiples_of_the_step(drawn):
    """The numbers, before a transform turns them into pixels."""
    seen = []

    class Plain(transforms._Stepped):
        name = "plain"

        def forward(self, images):
            return images.reshape(-1, 784) / np.float32(10)

        def backward(self, numbers):
            seen.append(numbers)
            return np.zeros((len(numbers), 28, 28), np.float32)

    rival = Plain(2, np.concatenate(drawn))
    rival.decode(rival.encode(drawn[1]))
    assert np.array_equal(seen[0], np.rint(rival.forward(drawn[1]) / 2) * 2)


def test_directions_in_8_bits_do_no_harm(pca, drawn):
    codes = pca.encode(drawn[1], 784)
    exact = base.metrics.mse(drawn[1], transforms.to_uint8(pca.decode(codes[:, :64])))
    basis = transforms._Basis(pca)
    rounded = metrics.mse(drawn[1], transforms.to_uint8(basis.images(codes[:, :64])))
    assert rounded.mean() < networks.HARMLESS * exact.mean()
    assert basis.bytes(np.arange(64)) < 64 * (784 + 4) + 784 + 10


def test_fewer_lists_remember_the_same_choices(drawn, pca):
    full = rivals.VectorQuantiser(pca, 3, 256, drawn[0])
    for images in (drawn[1], drawn[0], drawn[1]):
        first_images = images[:20].reshape(-1, 1, 784) / 255
        alone = np.square(first_images - full.lists[0]).sum(axis=2).argmin(axis=1)
        short, long = full.first(1).indices(images), full.indices(images)
        assert short.shape[1] == 1 and long.shape == (len(images), 3)
        assert np.array_equal(short[:, 0], long[:, 0])
        assert (short[:20, 0] == alone).mean() > 0.9


@pytest.mark.parametrize(("bits", "numbers"), [(4, 16), (8, 3), (10, 1), (8, 1)])
def test_indices_are_packed_side_by_side(bits, numbers):
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 1 << bits, (77, numbers)).astype(np.uint16)
    content = transforms.pack(symbols, bits)
    assert len(content) == -(-77 * numbers * bits // 8)
    assert np.array_equal(transforms.unpack(content, bits, numbers), symbols)


def test_a_list_stores_the_index_of_the_nearest_image(drawn_rivals, drawn):
    for name, size in (("k-means, 256 images", 1), ("k-means, 1,024 images", 1.25)):
        rival = drawn_rivals[name]
        stream = rival.encode(drawn[1])
        assert len(stream) == 60 * size
        pixels = drawn[1].reshape(-1, 1, 784) / 255
        distances = np.square(pixels - rival.lists[0]).sum(axis=2)
        chosen = rival.decode(stream).reshape(-1, 784) / 255
        found = np.square(pixels[:, 0] - chosen).sum(axis=1)
        assert np.allclose(found, distances.min(axis=1), rtol=0.02)


def test_each_further_list_makes_the_error_smaller(drawn_rivals, drawn):
    full = drawn_rivals["residual VQ, 4 × 256"]
    points = [rivals.measure(full.first(n), drawn[0]) for n in (1, 2, 3, 4)]
    errors = [point.mse for point in points]
    assert errors == sorted(errors, reverse=True) and errors[3] < 0.7 * errors[0]
    assert [point.bytes for point in points] == [1, 2, 3, 4]
    assert full.side > full.first(3).side > full.first(1).side > 0
    assert full.first(4).encode(drawn[1]) == full.encode(drawn[1])


def test_coded_indices_give_the_same_images_in_fewer_bytes(drawn_rivals, drawn):
    lists = drawn_rivals["residual VQ, 4 × 256"]
    coded = rivals.CodedVectors(lists, drawn[0])
    images = drawn[0]
    stream = coded.encode(images)
    assert len(stream) < len(lists.encode(images))
    plain = lists.decode(lists.encode(images))
    assert np.array_equal(coded.decode(stream), plain)
    assert coded.side > lists.side
    with pytest.raises(ValueError, match="at most 256 entries, not 1024"):
        rivals.CodedVectors(drawn_rivals["k-means, 1,024 images"], drawn[0])


def test_short_lists_need_fewer_bytes_and_a_smaller_decoder(drawn_rivals, drawn, pca):
    full = drawn_rivals["residual VQ, 4 × 256"]
    short = rivals.VectorQuantiser(pca, 4, 16, drawn[0])
    images = drawn[0]
    assert len(short.encode(images)) == len(full.encode(images)) / 2
    assert short.side < full.side / 4
    coded = rivals.CodedVectors(short, images)
    long = rivals.CodedVectors(full, images)
    assert (coded.name, coded.setting) == ("residual VQ, 16 entries, coded", "4 × 16")
    assert long.name == "residual VQ, coded"
    plain = short.decode(short.encode(images))
    assert np.array_equal(coded.decode(coded.encode(images)), plain)
    assert short.side < coded.side <= short.side + 2 * 4 * 16  # tables, uint16


def test_lists_need_a_power_of_two(pca, drawn):
    for entries in (8, 300):
        with pytest.raises(ValueError, match="power of 2"):
            rivals.VectorQuantiser(pca, 1, entries, drawn[0])


def test_groups_without_members_keep_their_entry():
    old = np.float32([[0, 0], [5, 5]])
    means = vectors._means(np.float32([[1, 3], [3, 5]]), np.array([0, 0]), old)
    assert np.array_equal(means, [[2, 4], [5, 5]])


# Networks


@pytest.fixture
def tiny_network(tmp_path):
    model, images = tiny.make_model(tmp_path), tiny.images(30, seed=1)
    decoder = rivals.compact(model.run, tmp_path / "compact", images)
    return decoder, codec.Model(decoder.run, model.quantiser, model.tables), images


def test_networks_are_stored_as_files(tiny_network):
    decoder, model, images = tiny_network
    rival = rivals.Network(decoder, model)
    stream = rival.encode(images)
    assert codec.compress(images, model) == stream
    assert np.array_equal(rival.decode(stream), model.images(model.symbols(images)))
    parts = model.quantiser.levels, model.tables
    assert rival.side == decoder.bytes + rivals.stored(*parts)
    row = rivals.measure(rival, images).row()
    assert (row["system"], row["framework"]) == ("tiny", "keras")
    assert row["codec"] == "tiny, Keras" and row["family"] == "autoencoder"


def test_networks_codes_can_be_stored_as_records(tiny_network):
    decoder, model, images = tiny_network
    rival = rivals.PackedNetwork(decoder, model)
    point = rivals.measure(rival, images, alone=True)
    assert point.bytes == model.numbers / 2
    whole = model.images(model.symbols(images))
    assert np.array_equal(rival.decode(rival.encode(images)), whole)
    assert np.array_equal(rival.decode(rival.encode(images[3:4]))[0], whole[3])


def test_remembered_codes_are_those_of_the_images(tiny_network, monkeypatch):
    decoder, _, images = tiny_network
    run, seen = decoder.run, []
    plain = runs.read(run.folder)
    encode = runs.Run.encode

    def counted(self, given):
        seen.append(len(given))
        return encode(self, given)

    monkeypatch.setattr(runs.Run, "encode", counted)
    known = networks.CodingRun(run.folder, run.record)
    twice = np.concatenate([images[5:], images[:10], images[:1]])
    for given in (images[:10], twice, images[::-1]):
        assert np.array_equal(known.encode(given), encode(plain, given))
    assert seen == [10, 20]
    many = np.arange(5_000 * 784, dtype=np.uint32).astype(np.uint8)
    many = (many.reshape(-1, 28, 28) * 3 + np.arange(5_000)[:, None, None]) % 251
    many = many.astype(np.uint8)
    assert np.array_equal(known.encode(many), encode(plain, many))
    monkeypatch.setattr(networks, "REMEMBERED", 0)
    known.encode(images)
    assert seen[-1] == len(images)


def random_network(seed=0):
    """An ONNX file of one product with a random matrix, and a bias."""
    rng = np.random.default_rng(seed)
    weights = {"matrix": rng.normal(0, 1, (40, 30)), "bias": rng.normal(0, 1, 30)}
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    nodes = [
        onnx.helper.make_node("MatMul", ["a", "matrix"], ["b"]),
        onnx.helper.make_node("Add", ["b", "bias"], ["c"]),
    ]
    return tiny.onnx_model(nodes, ("a", (40,)), ("c", (30,)), weights), weights


@pytest.mark.parametrize(
    ("precision", "bytes_a_weight", "error"),
    [("int8", 1.2, 1 / 200), ("float16", 2, 1 / 2_000), ("float32", 4, 0)],
)
def test_weights_are_rounded_and_counted(precision, bytes_a_weight, error):
    model, weights = random_network()
    content, parts = networks.rounded(model, precision)
    size = rivals.stored(*parts)
    found = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(content).graph.initializer
    }
    for name, values in weights.items():
        assert found[name].dtype == np.float32 and found[name].shape == values.shape
        reach = np.abs(values).max()
        assert np.abs(found[name] - values).max() <= error * reach
        assert np.array_equal(found[name], values) == (precision == "float32")
    assert 1_230 * bytes_a_weight * 0.75 < size < 1_230 * bytes_a_weight + 300


def test_a_decoder_is_rounded_only_as_far_as_it_does_no_harm(tmp_path, monkeypatch):
    run = tiny.write_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    assert rivals.compact(run, tmp_path / "a", images).precision == "int8"
    monkeypatch.setattr(networks, "HARMLESS", 0.5)  # whatever is done is harm
    kept = rivals.compact(run, tmp_path / "b", images)
    assert kept.precision == "float32" and kept.run.name == run.name
    assert np.array_equal(kept.run.reconstruct(images), run.reconstruct(images))


# The bill: bytes and what a reader needs beforehand


def point_of(size, side, error=0.1):
    rival = rivals.OneBit()
    rival.side = side
    return rivals.Point(rival, False, size, np.array([error]), 1.0)


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
def test_break_even_tells_the_direction(ours, other, answer):
    assert rivals.break_even(point_of(*ours), point_of(*other)) == answer


def test_the_front_holds_what_nothing_smaller_equals():
    small, large = point_of(5, 1_000, 0.3), point_of(9, 0, 0.2)
    worse, same = point_of(10, 0, 0.25), point_of(11, 0, 0.2)
    assert rivals.front([same, worse, large, small]) == [small, large]
    assert rivals.front([small, large], images=10) == [large]  # 105 bytes against 9
    assert small.charged(10) == 105


def test_what_a_reader_needs_is_compressed():
    assert rivals.stored(bytes(10_000)) < 200
    noise = np.random.default_rng(0).bytes(1_000)
    assert rivals.stored(noise) == 1_000  # not more than as it is
    assert rivals.stored(noise, np.zeros(5_000, np.float32)) < 1_200


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
        assert row["bytes"] > 0 and row["images"] > 0 and not row["ideal"], row
        assert (row["psnr"] is None) == (row["mse"] == 0), row
        assert (row["family"] == "autoencoder") == (row["system"] is not None), row
    for row in streams:
        assert 0 < row["ideal_bytes"] < row["bytes"], row
