"""Training for bits: the loss in both frameworks, the search, and streams in order."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from caebook import codec, networks
from caebook.codec import in_order, locate
from caebook.codec.quantise import integers
from caebook.codec.search import bits_of_levels, search, squared_errors
from caebook.errors import RunError
from caebook.settings import Settings
from caebook.train import halves, train
from caebook.training import Recipe
from caebook.training.recipes import RATE_RECIPE

IMAGES = tiny.images(30)


def price(value, mean, log_scale):
    """Bits under a logistic distribution, as the chapter's formula says."""

    def below(x):
        return 1 / (1 + np.exp(-(x - mean) / np.exp(log_scale)))

    return -np.log2(below(value + 0.5) - below(value - 0.5))


# --- the loss ---------------------------------------------------------------------

CODE = np.random.default_rng(0).normal(0, 3, (5, 4))
MEAN, LOG_SCALE = np.array([0, 1, -1, 0.3]), np.array([0, -1, 1, 0.5])


def test_bits_are_those_of_a_logistic_prior():
    import torch

    from caebook.networks.keras import keras_bits
    from caebook.networks.torch import torch_bits

    expected = price(CODE, MEAN, LOG_SCALE).sum(axis=1)
    numbers = [x.astype(np.float32) for x in (CODE, MEAN, LOG_SCALE)]
    found = np.asarray(keras_bits(numbers[0][:, None, None], *numbers[1:]))
    assert found == pytest.approx(expected, rel=1e-4)
    places = [torch.from_numpy(x)[..., None, None] for x in numbers]
    assert torch_bits(*places).numpy() == pytest.approx(expected, rel=1e-4)


def test_bits_of_a_number_far_away_are_finite():
    from caebook.networks.keras import keras_bits

    far = np.full((1, 1, 1, 1), 1e4, np.float32)
    zero = np.zeros(1, np.float32)
    assert float(keras_bits(far, zero, zero)[0]) == pytest.approx(1e4 / np.log(2), 1e-3)


def test_keras_adds_bits_to_the_weighted_squared_error():
    from caebook.training import keras as training

    model = networks.build("rate", "keras", 0)
    recipe = replace(RATE_RECIPE, epochs=1, train_images=20, batch_size=20)
    recipe = replace(recipe, learning_rate=1e-12, distortion_weight=3.0)
    history = training.fit(model, IMAGES[:20], recipe, validation=IMAGES)
    encoder, prior, decoder = model.layers
    code = np.rint(np.asarray(encoder(training.to_tensor(IMAGES))))
    error = np.asarray(decoder(code))[..., 0] - IMAGES / 255
    expected = np.asarray(prior.bits(code)) + 3 * np.square(error).sum(axis=(1, 2))
    assert history.val_loss[0] == pytest.approx(expected.mean(), rel=1e-4)


def test_torch_adds_bits_to_the_weighted_squared_error():
    import torch

    from caebook.networks.torch import torch_bits
    from caebook.training import torch as training

    model = networks.build("rate", "torch", 0)
    recipe = replace(RATE_RECIPE, epochs=1, train_images=20, batch_size=20)
    recipe = replace(recipe, learning_rate=1e-12, distortion_weight=3.0)
    history = training.fit(model, IMAGES[:20], recipe, validation=IMAGES)
    with torch.no_grad():
        images = training.to_tensor(IMAGES)
        code = model.encoder(images).round()
        error = (model.decoder(code) - images).square().sum((1, 2, 3))
        expected = torch_bits(code, *model.prior(code)) + 3 * error
    assert history.val_loss[0] == pytest.approx(expected.mean().item(), rel=1e-4)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_numbers_get_noise_in_training_and_are_rounded_afterwards(framework):
    model = networks.build("rate", framework, 0)
    given = np.full((1000, 1, 1, 32), 0.3, np.float32)
    if framework == "keras":
        prior = model.layers[1]
        noisy = np.asarray(prior(given, training=True))
        rounded = np.asarray(prior(given, training=False))
    else:
        import torch

        code = torch.from_numpy(given)
        noisy = model.train().rounded(code).numpy()
        rounded = model.eval().rounded(code).numpy()
    assert (rounded == 0).all()
    assert np.abs(noisy - 0.3).max() <= 0.5
    assert np.std(noisy) == pytest.approx(12**-0.5, rel=0.02)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_the_prior_is_trained_too_and_is_no_half_of_the_network(framework):
    model = networks.build("rate", framework, 0)
    assert len(halves(model)) == 2
    if framework == "keras":
        assert len(model.layers[1].trainable_weights) == 2
    else:
        names = dict(model.named_parameters()).keys()
        assert {"prior.mean", "prior.log_scale"} <= names


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_prior_that_looks_back_sees_earlier_numbers_only(framework):
    model = networks.build("rate-back", framework, 0)
    code = np.random.default_rng(0).normal(0, 3, (5, 32)).astype(np.float32)
    if framework == "keras":
        prior = model.layers[1]
        prior(code[:, None, None])
        weights = np.random.default_rng(1).normal(size=prior.last.kernel.shape)
        prior.last.kernel.assign(weights)

        def means(code):
            return np.asarray(prior.prices(code[:, None, None])[0])[:, 0, 0]
    else:
        import torch

        torch.nn.init.normal_(model.prior.back[4].weight)

        def means(code):
            with torch.no_grad():
                found, _ = model.prior(torch.from_numpy(code)[..., None, None])
            return found.numpy()[..., 0, 0]

    before = means(code)
    for place in (0, 7, 31):
        changed = code.copy()
        changed[:, place] += 2
        moved = np.abs(means(changed) - before).max(axis=0) > 0
        assert not moved[: place + 1].any()
        assert moved[place + 1 :].any() == (place < 31)


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_a_run_keeps_the_prior_and_another_network_can_take_it(tmp_path, framework):
    model = networks.build("rate-back", framework, 0)
    recipe = replace(RATE_RECIPE, epochs=1, train_images=200, batch_size=50)
    settings = Settings("smoke", "glyph-digits", None, 0, tmp_path)
    run = train(model, "rate-back", settings, recipe=recipe)
    kept, other = run.prior(), networks.build("rate-back", framework, 1)
    if framework == "keras":
        prior, mine = other.layers[1], model.layers[1]
        prior.set_weights(list(kept.values()))
        pairs = zip(prior.get_weights(), mine.get_weights(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
    else:
        import torch

        tensors = {name: torch.from_numpy(value) for name, value in kept.items()}
        assert not other.prior.load_state_dict(tensors, strict=False).unexpected_keys
        mine = dict(model.prior.named_parameters())
        assert mine.keys() == kept.keys()
        assert all(np.array_equal(mine[k].detach(), kept[k]) for k in kept)
    (run.folder / "prior.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"prior\.npz cannot be read"):
        run.prior()


@pytest.mark.parametrize("system", ["rate", "rate-back"])
def test_the_last_bias_of_the_decoder_starts_at_the_mean_pixel(system):
    from caebook.training import torch as training

    model = networks.build(system, "torch", 0)
    recipe = replace(RATE_RECIPE, epochs=1, train_images=20, batch_size=20)
    recipe = replace(recipe, learning_rate=1e-12)
    training.fit(model, IMAGES[:20], recipe, validation=IMAGES)
    output = training.predict(model, IMAGES[:20])
    assert output.mean() == pytest.approx(IMAGES[:20].mean() / 255, abs=0.05)


def test_a_network_without_bits_is_refused():
    from caebook.training import keras, torch

    recipe = replace(RATE_RECIPE, train_images=len(IMAGES))
    for framework, name in ((keras, "keras"), (torch, "torch")):
        with pytest.raises(ValueError, match=r"rate|loss"):
            framework.fit(
                networks.build("transposed", name), IMAGES, recipe, validation=IMAGES
            )


@pytest.mark.parametrize(
    "fields", [{"loss": "rate"}, {"loss": "mse", "distortion_weight": 2.0}]
)
def test_weight_and_loss_must_match(fields):
    with pytest.raises(ValueError, match=r"^distortion_weight: "):
        Recipe(**fields)


# --- the search -------------------------------------------------------------------


def blocks(symbols):
    """A decoder of four numbers, each of which paints a quarter of the image."""
    quarters = (symbols * 16).reshape(-1, 2, 2).astype(np.uint8)
    return quarters.repeat(14, axis=1).repeat(14, axis=2)


TABLES = codec.frequencies(np.array([[1000, 300, 100, 50, 20, 10, 5, 1]] * 4))


def cost(images, symbols, weight):
    bits = bits_of_levels(TABLES)[np.arange(4), symbols].sum(axis=1)
    return bits + weight * squared_errors(images, blocks(symbols))


def test_bits_of_levels_are_what_the_coder_takes():
    assert bits_of_levels(TABLES)[0].min() == pytest.approx(-np.log2(1000 / 1486), 1e-2)
    symbols = np.zeros((20_000, 4), np.uint8)
    size = 8 * len(codec.StaticCoder(TABLES).encode(symbols)) / symbols.size
    assert size == pytest.approx(bits_of_levels(TABLES)[0, 0], abs=0.05)


def test_squared_errors_are_those_of_whites_that_are_black():
    black = np.zeros((2, 28, 28), np.uint8)
    white = black.copy()
    white[1, 3, 4:7] = 255
    assert squared_errors(white, black).tolist() == [0, 3]


@pytest.mark.parametrize("weight", [0.0, 0.2, 50.0])
def test_a_search_never_raises_the_cost_and_ends_where_no_step_lowers_it(weight):
    start = np.random.default_rng(1).integers(0, 8, (30, 4)).astype(np.uint8)
    options = {"sweeps": 20, "margin": np.inf}
    found = search(IMAGES, start, blocks, TABLES, weight, **options)
    lowest = cost(IMAGES, found, weight)
    assert (lowest <= cost(IMAGES, start, weight)).all()
    assert (found != start).any()
    for place in range(4):
        for step in (-1, 1):
            tried = found.astype(int)
            tried[:, place] = np.clip(tried[:, place] + step, 0, 7)
            assert (cost(IMAGES, tried.astype(np.uint8), weight) >= lowest).all()


def test_steps_far_from_paying_are_not_tried_again():
    start, decoded = np.full((30, 4), 4, np.uint8), []

    def decode(symbols):
        decoded.append(len(symbols))
        return blocks(symbols)

    for margin in (np.inf, 0.1):
        search(IMAGES, start, decode, TABLES, 5.0, sweeps=2, margin=margin)
        decoded.append(0)
    first, second = np.split(np.array(decoded), [decoded.index(0)])
    assert second.sum() < 0.9 * first.sum()


def test_a_search_leaves_what_was_given_unchanged_and_stays_within_the_levels():
    start = np.tile(np.array([0, 7, 0, 7], np.uint8), (30, 1))
    before = start.copy()
    found = search(IMAGES, start, blocks, TABLES, 1e6)
    assert (start == before).all() and found.dtype == np.uint8
    assert found.max() < 8


# --- models with a search ---------------------------------------------------------


def test_integers_are_whole_numbers_around_zero():
    quantiser = integers(np.zeros((3, 2), np.float32), 6)
    assert quantiser.levels.tolist() == list(range(-32, 32))
    numbers = np.array([[-40, -0.6, 0.4, 2.51, 99]], np.float32)
    assert (quantiser.levels[quantiser.encode(numbers)] == [-32, -1, 0, 3, 31]).all()


def test_a_model_with_search_writes_files_that_any_reader_decodes(tmp_path):
    run = tiny.make_model(tmp_path).run
    plain = codec.fit(run, IMAGES, 4, "uniform")
    model = replace(plain, search=40.0)
    again = codec.Model.load(model.save())
    assert again.search == 40.0 and again.digest == plain.digest
    file = codec.compress(IMAGES, again)
    decoded = codec.decompress(file, plain)  # which knows nothing of the search

    def spent(symbols):
        bits = bits_of_levels(plain.tables)[np.arange(plain.numbers), symbols]
        return bits.sum(axis=1) + 40 * squared_errors(IMAGES, plain.images(symbols))

    assert np.array_equal(decoded, plain.images(model.symbols(IMAGES)))
    assert (spent(model.symbols(IMAGES)) <= spent(plain.symbols(IMAGES))).all()
    assert spent(model.symbols(IMAGES)).sum() < spent(plain.symbols(IMAGES)).sum()


def test_tables_of_a_search_are_counted_from_searched_codes(tmp_path):
    run = tiny.make_model(tmp_path).run
    first = codec.fit(run, IMAGES, 4, "uniform")
    fitted = codec.fit(run, IMAGES, 4, "uniform", search=40.0)
    symbols = replace(first, search=40.0).symbols(IMAGES)
    counted = codec.frequencies(codec.count_levels(symbols, 16))
    assert np.array_equal(fitted.tables, counted)
    assert not np.array_equal(fitted.tables, first.tables)


def test_a_short_name_finds_its_model(tmp_path, monkeypatch):
    made = tiny.make_model(tmp_path / "build" / "reader" / "runs")
    monkeypatch.setattr(locate, "root", lambda: tmp_path)
    monkeypatch.setitem(locate.SHORT_NAMES, "little", made.id)
    assert codec.find_model("little").id == made.id


# --- streams in order -------------------------------------------------------------


def tables_of(drift=0.0):
    """Each number is about as large as the one before it."""
    levels = np.arange(16.0)

    def tables(symbols, place):
        mean = symbols[:, place - 1] if place else np.full(len(symbols), 8)
        return in_order.logistic_tables(mean + drift, np.zeros(len(symbols)), levels)

    return tables


def walk(count=300, places=6):
    steps = np.random.default_rng(2).integers(-1, 2, (count, places))
    return np.clip(8 + steps.cumsum(axis=1), 0, 15).astype(np.uint8)


def test_streams_in_order_are_read_back_and_shorter():
    symbols = walk()
    streams = in_order.encode_in_order(tables_of(), symbols)
    assert (in_order.decode_in_order(tables_of(), streams, 300) == symbols).all()
    alone = codec.frequencies(codec.count_levels(symbols, 16))
    assert sum(map(len, streams)) < len(codec.StaticCoder(alone).encode(symbols))


def test_other_tables_cannot_read_the_streams():
    """Long streams end in a wrong state; short ones give other symbols."""
    symbols = walk(9_000)
    streams = in_order.encode_in_order(tables_of(), symbols)
    with pytest.raises(codec.CorruptFile):
        in_order.decode_in_order(tables_of(drift=1e-3), streams, 9_000)
    streams = in_order.encode_in_order(tables_of(), symbols[:300])
    try:
        found = in_order.decode_in_order(tables_of(drift=1e-3), streams, 300)
    except codec.CorruptFile:
        return
    assert (found != symbols[:300]).any(axis=1).mean() > 0.5


def test_logistic_tables_are_valid_even_at_the_ends():
    mean, log_scale = np.array([0, 3.2, -900, 900]), np.array([0, -30, 2, -7.0])
    tables = in_order.logistic_tables(mean, log_scale, np.arange(-32.0, 32))
    assert (tables.sum(axis=1) == 1 << 16).all() and tables.min() >= 1
    assert tables.argmax(axis=1).tolist() == [32, 35, 0, 63]
    found = -np.log2(tables[0, 30:35] / 65536)
    assert found == pytest.approx(price(np.arange(-2, 3), 0, 0), abs=0.01)
