"""One network in two frameworks: appendix A's own code, run from the notebook.

The appendix builds all six networks twice, copies weights from one framework to the
other and trains both on the same batches. The cells that do so are tagged `parity`;
they are executed here unchanged, so the tests check what the reader sees.
"""

import keras
import nbformat
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from caebook.build.chapters import tags
from caebook.data import glyphs
from caebook.files import root
from caebook.images import to_float

NOTEBOOK = root() / "notebooks" / "a_two_frameworks.ipynb"

# system → parameters of encoder and decoder: the tables of the source systems
SYSTEMS = {
    "shallow": (18_816, 55_681),
    "deep": (92_672, 240_129),
    "dcnn": (19_744, 19_241),
    "transposed": (740, 337),
    "wide-kernel": (532_736, 532_673),
    "code16": (20_989, 20_989),
}
STEPS, BATCH_SIZE = 200, 20  # of the joint trajectory
TOLERANCE = 1e-5  # float32, of pixels and losses on a scale of about 1
ROUNDING = 1e-12  # largest difference in double precision

every_system = pytest.mark.parametrize("system", SYSTEMS)


@pytest.fixture(scope="module")
def chapter():
    """What the cells tagged `parity` define."""
    namespace = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "parity" in tags(cell):
            exec(compile(cell.source, f"{NOTEBOOK.name}:{cell.id}", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def single_precision(chapter):
    """Every test starts in float32."""
    yield
    chapter["use_precision"]("float32")


@pytest.fixture(scope="module")
def images():
    """Drawn digits, uint8 (420, 28, 28)."""
    return glyphs.draw("digits", seed=0, train=420, test=10)[0]


@pytest.fixture(scope="module")
def feed(images):
    """Random batches for the joint trajectory."""
    generator = np.random.default_rng(0)
    return [images[generator.permutation(400)[:BATCH_SIZE]] for _ in range(STEPS)]


@pytest.fixture(scope="module")
def leader(chapter, feed):
    """Keras's losses and trained halves of `transposed`."""
    return chapter["train_keras"]("transposed", feed)


def in_keras(halves, images):
    encoder, decoder = halves
    return np.asarray(decoder(encoder(to_float(images)[..., None])))[..., 0]


@torch.no_grad()
def in_torch(halves, images):
    encoder, decoder = halves
    return decoder(encoder(torch.from_numpy(to_float(images)[:, None])))[:, 0].numpy()


def build(chapter, framework, system, seed=0):
    return chapter[f"new_{framework}"](system, seed)


def weights_of(keras_halves):
    return [array for half in keras_halves for array in half.get_weights()]


# The networks, and copying their weights


def test_the_six_systems_are_there(chapter):
    assert set(chapter["SYSTEMS"]) == set(SYSTEMS)
    assert set(chapter["losses"]) == set(SYSTEMS)


@every_system
def test_parameter_counts_are_the_sources(chapter, system):
    ours = build(chapter, "keras", system)
    theirs = build(chapter, "torch", system)
    assert tuple(half.count_params() for half in ours) == SYSTEMS[system]
    counts = [sum(w.numel() for w in half.parameters()) for half in theirs]
    assert tuple(counts) == SYSTEMS[system]


@every_system
@pytest.mark.parametrize("direction", ["to_torch", "to_keras"])
def test_copied_weights_give_the_same_images(chapter, system, direction, images):
    ours = build(chapter, "keras", system, seed=1)
    theirs = build(chapter, "torch", system, seed=2)
    source, target = (ours, theirs) if direction == "to_torch" else (theirs, ours)
    before = in_keras(ours, images[:20]), in_torch(theirs, images[:20])
    assert np.abs(before[0] - before[1]).max() > 100 * TOLERANCE
    chapter[direction](source, target)
    after = in_keras(ours, images[:20]), in_torch(theirs, images[:20])
    assert after[0].shape == after[1].shape == (20, 28, 28)
    assert np.abs(after[0] - after[1]).max() <= TOLERANCE
    moved = direction == "to_torch"  # the source itself is unchanged
    assert np.array_equal(after[0], before[0]) is moved
    assert np.array_equal(after[1], before[1]) is not moved


@every_system
def test_copying_to_torch_and_back_is_exact(chapter, system):
    ours = build(chapter, "keras", system, seed=1)
    back = build(chapter, "keras", system, seed=2)
    theirs = build(chapter, "torch", system, seed=3)
    assert not all(map(np.array_equal, weights_of(ours), weights_of(back)))
    chapter["to_torch"](ours, theirs)
    chapter["to_keras"](theirs, back)
    for there, again in zip(weights_of(ours), weights_of(back), strict=True):
        assert there.dtype == again.dtype and np.array_equal(there, again)


@every_system
def test_a_flipped_kernel_would_be_noticed(chapter, system, images):
    """The comparison of images detects a single flipped kernel."""
    ours = build(chapter, "keras", system, seed=1)
    theirs = build(chapter, "torch", system, seed=2)
    chapter["to_torch"](ours, theirs)
    expected = in_keras(ours, images[:20])
    for _, module in chapter["layer_pairs"](ours, theirs):
        kernel = module.weight.detach().clone()
        with torch.no_grad():
            module.weight.copy_(kernel.flip(2, 3))
        assert np.abs(in_torch(theirs, images[:20]) - expected).max() > TOLERANCE
        with torch.no_grad():
            module.weight.copy_(kernel)


def test_trained_weights_are_copied_too(chapter, leader, images):
    theirs = build(chapter, "torch", "transposed", seed=5)
    chapter["to_torch"](leader[1], theirs)
    gap = np.abs(in_keras(leader[1], images) - in_torch(theirs, images))
    assert gap.max() <= TOLERANCE


def pair_of_networks(keras_layers, torch_layers):
    net = keras.Sequential([keras.Input((28, 28, 1)), *keras_layers])
    return [net], [nn.Sequential(*torch_layers)]


MISMATCHES = {
    "fewer layers": (
        [layers.Conv2D(2, 3), layers.Conv2D(2, 3)],
        [nn.Conv2d(1, 2, 3)],
        "2 layers have weights in Keras, 1 in PyTorch",
    ),
    "other channels": (
        [layers.Conv2D(2, 3), layers.Conv2D(5, 3)],
        [nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3)],
        r"layer 2: .* shape: \(5, 2, 3, 3\) .* \(4, 2, 3, 3\)",
    ),
    "other kernel": (
        [layers.Conv2D(2, 3)],
        [nn.Conv2d(1, 2, 5)],
        r"layer 1: .* \(2, 1, 3, 3\) .* \(2, 1, 5, 5\)",
    ),
    "transposed or not": (
        [layers.Conv2DTranspose(1, 3)],  # the same shape as its partner
        [nn.Conv2d(1, 1, 3)],
        r"layer 1: Conv2DTranspose \(Keras\) and Conv2d \(PyTorch\)",
    ),
    "unknown layers": (
        [layers.Dense(1)],
        [nn.Linear(1, 1)],
        r"layer 1: Dense \(Keras\) and Linear \(PyTorch\)",
    ),
    "one bias": (
        [layers.Conv2D(2, 3, use_bias=False)],
        [nn.Conv2d(1, 2, 3)],
        "layer 1: .* only one has a bias",
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
@pytest.mark.parametrize("direction", ["to_torch", "to_keras"])
def test_mismatched_networks_are_refused(chapter, case, direction):
    *stacks, message = MISMATCHES[case]
    ours, theirs = pair_of_networks(*stacks)
    pair = (ours, theirs) if direction == "to_torch" else (theirs, ours)
    with pytest.raises(ValueError, match=message):
        chapter[direction](*pair)


def test_layers_without_bias_are_copied(chapter):
    ours, theirs = pair_of_networks(
        [layers.Conv2D(2, 3, use_bias=False)], [nn.Conv2d(1, 2, 3, bias=False)]
    )
    chapter["to_torch"](ours, theirs)
    kernel = theirs[0][0].weight.detach().numpy().transpose(2, 3, 1, 0)
    assert np.array_equal(kernel, ours[0].get_weights()[0])


# The joint trajectory


def test_reconciled_trajectories_are_equal(chapter, feed, leader):
    curve, _ = chapter["train_torch"](
        "transposed", feed, chapter["keras_adam"], logits=True
    )
    assert len(curve) == len(leader[0]) == STEPS
    assert curve[-1] < 0.8 * curve[0]  # it learns something
    assert np.abs(curve - leader[0]).max() < TOLERANCE


def test_unreconciled_trajectories_diverge(chapter, feed, leader):
    curve, _ = chapter["train_torch"]("transposed", feed)
    assert curve[0] == pytest.approx(leader[0][0], abs=1e-6)  # the same start
    assert np.abs(curve - leader[0]).max() > 10 * TOLERANCE


@every_system
def test_in_double_precision_no_difference_is_left(chapter, system, images):
    batches = [images[start : start + 4] for start in range(0, 20, 4)]
    curve, _ = chapter["train_keras"](system, batches, dtype="float64")
    gaps = {}
    for name in ("keras_adam", "keras_epsilon"):
        theirs, _ = chapter["train_torch"](
            system, batches, chapter[name], logits=True, dtype="float64"
        )
        gaps[name] = np.abs(theirs - curve).max()
    assert gaps["keras_adam"] < ROUNDING
    # Keras rounds Adam's β to float32, whatever the weights are
    assert gaps["keras_epsilon"] > 100 * ROUNDING


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reconciled_adam_takes_the_steps_of_keras(chapter, dtype):
    """Over gradients of all sizes, zero included, on one weight each."""
    sizes = np.array([0, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1.0])
    chapter["use_precision"](dtype)
    ours = keras.Variable(np.zeros(8), dtype=dtype)
    theirs = torch.zeros(8, dtype=getattr(torch, dtype), requires_grad=True)
    keras_adam, torch_adam = keras.optimizers.Adam(), torch.optim.Adam([theirs])
    plain = torch.zeros_like(theirs).requires_grad_()
    plain_adam = torch.optim.Adam([plain])
    for step in range(1, 31):
        gradient = (sizes * (1 + 0.5 * np.sin(step))).astype(dtype)
        keras_adam.apply([keras.ops.convert_to_tensor(gradient)], [ours])
        chapter["keras_adam"](torch_adam.param_groups[0], step, dtype)
        theirs.grad, plain.grad = torch.from_numpy(gradient), torch.from_numpy(gradient)
        torch_adam.step()
        plain_adam.step()
    expected = ours.numpy()
    relative = 1e-5 if dtype == "float32" else ROUNDING
    assert np.allclose(theirs.detach().numpy(), expected, rtol=relative, atol=0)
    assert not np.allclose(plain.detach().numpy(), expected, rtol=0.1, atol=0)
