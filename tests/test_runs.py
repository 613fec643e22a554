"""Saving, finding and using runs.

Most of these tests use networks that are built as ONNX here, without any framework: the
encoder takes the means of 4 × 4 pixels, the decoder repeats them. The last test saves
and reads what the frameworks train.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny import onnx_model

from caebook import runs
from caebook import settings as profiles
from caebook.data import Dataset
from caebook.errors import WriteError
from caebook.evaluation import metrics
from caebook.files import root
from caebook.images import to_float, to_uint8
from caebook.runs import Record, Run, RunError
from caebook.settings import Settings
from caebook.training import Exported, History, Recipe
from caebook.training.noise import noisy_test_images
from caebook.training.recipes import SOURCE_RECIPES

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 10
DATASET = Dataset(
    name="glyph-digits",
    train_images=IMAGES,
    train_labels=LABELS,
    test_images=IMAGES,
    test_labels=LABELS,
    classes=tuple("0123456789"),
    source="drawn here",
    sha256="0" * 64,
    stand_in=True,
)
RECIPE = Recipe(loss="mse", epochs=2, train_images=1_000)
HISTORY = History([0.2, 0.1], [0.3, 0.2], [8.0, 2.0])
ABOUT = {"system": "deep", "dataset": DATASET, "recipe": RECIPE, "history": HISTORY}


# --- networks ---------------------------------------------------------------------


def encoder(gain: float = 1.0) -> bytes:
    """Means of 4 × 4 pixels times `gain`."""
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["images", "channel"], ["a"]),
        node("AveragePool", ["a"], ["b"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Mul", ["b", "gain"], ["c"]),
        node("Transpose", ["c"], ["code"], perm=[0, 2, 3, 1]),
    ]
    weights = {"channel": np.array([1]), "gain": np.float32([gain])}
    return onnx_model(nodes, ("images", (28, 28)), ("code", (7, 7, 1)), weights)


def decoder(gain: float = 1.0) -> bytes:
    """Each number repeated over 4 × 4 pixels, times `gain`."""
    node = helper.make_node
    nodes = [
        node("Mul", ["code", "gain"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
        node("Squeeze", ["c", "channel"], ["images"]),
    ]
    weights = {
        "channel": np.array([1]),
        "scales": np.float32([1, 1, 4, 4]),
        "gain": np.float32([gain]),
    }
    return onnx_model(nodes, ("code", (7, 7, 1)), ("images", (28, 28)), weights)


def classifier() -> bytes:
    """Ten numbers from the first ten pixels of the middle row."""
    node = helper.make_node
    nodes = [
        node("Flatten", ["images"], ["a"]),
        node("Slice", ["a", "from", "to", "axis"], ["b"]),
        node("Softmax", ["b"], ["probabilities"]),
    ]
    weights = {"from": np.array([400]), "to": np.array([410]), "axis": np.array([1])}
    target = ("probabilities", (10,))
    return onnx_model(nodes, ("images", (28, 28)), target, weights)


def pooled(images: np.ndarray) -> np.ndarray:
    """What `encoder` computes, in NumPy."""
    blocks = to_float(images).reshape(-1, 7, 4, 7, 4)
    return blocks.mean(axis=(2, 4))[..., None]


def exported(gain: float = 1.0, framework: str = "keras") -> Exported:
    """The pooling autoencoder; `gain` scales its reconstructions."""
    probe = IMAGES[:16]
    code = pooled(probe)
    decoded = np.repeat(np.repeat(code[..., 0], 4, 1), 4, 2) * np.float32(gain)
    return Exported(
        framework,
        {"encoder": encoder(), "decoder": decoder(gain)},
        probe,
        {"encoder": code, "decoder": decoded},
        {"total": 2, "encoder": 1, "decoder": 1},
    )


def exported_classifier() -> Exported:
    probe = IMAGES[:16]
    powers = np.exp(to_float(probe).reshape(16, -1)[:, 400:410])
    return Exported(
        "torch",
        {"classifier": classifier()},
        probe,
        {"classifier": powers / powers.sum(axis=1, keepdims=True)},
        {"total": 7, "encoder": None, "decoder": None},
    )


# --- places -----------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder, that the package takes for the checkout."""
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings(project):
    return settings_of(project, "reader")


def settings_of(project: Path, profile: str) -> Settings:
    folder = project / "build" / profile / "runs"
    return Settings(profile, "glyph-digits", "glyph-letters", 0, folder)


def save(settings, what=None, **changes) -> Run:
    return runs.save(what or exported(), **{**ABOUT, **changes}, settings=settings)


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, with its contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(run: Run, change) -> None:
    """Change a saved record in place."""
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


# --- names ------------------------------------------------------------------------


NAMES = {
    "deep-keras-mnist-s0": ("deep", "keras", "mnist", "source", 0),
    "deep+short-torch-mnist-s12": ("deep", "torch", "mnist", "short", 12),
    "wide-kernel-torch-glyph-digits-s0": (
        *("wide-kernel", "torch", "glyph-digits", "source", 0),
    ),
    "code16+depth2-code49+short-keras-emnist-letters-s3": (
        *("code16", "keras", "emnist-letters", "depth2-code49+short", 3),
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_make_a_round_trip(name):
    assert runs.run_id(*NAMES[name]) == name
    assert runs.parse_id(name) == NAMES[name]


@pytest.mark.parametrize(
    "parts",
    [
        ("Deep", "keras", "mnist"),
        ("", "keras", "mnist"),
        ("deep", "jax", "mnist"),
        ("deep", "keras", ""),
        ("deep", "keras", "../mnist"),
        ("deep/..", "keras", "mnist"),
        ("deep-", "keras", "mnist"),
        ("deep", "keras", "mnist", ""),
        ("deep", "keras", "mnist", "short "),
        ("deep", "keras", "mnist", "source", -1),
        ("deep", "keras", "mnist", "source", 1.0),
        ("deep", "keras", "mnist", "source", None),
        # could be split in two ways
        ("deep", "keras", "torch-mnist"),
        ("deep", "keras", "x-keras-mnist"),
        ("deep+short", "keras", "mnist"),
    ],
)
def test_bad_names_are_refused(parts):
    with pytest.raises(RunError, match="name"):
        runs.run_id(*parts)


@pytest.mark.parametrize(
    "name", ["", "deep", "deep-keras-mnist", "deep-keras-mnist-s00"]
)
def test_other_names_are_refused(name):
    with pytest.raises(RunError, match="not a run's name"):
        runs.parse_id(name)


# --- what is saved ----------------------------------------------------------------


def test_record_of_an_autoencoder(settings):
    run = save(settings)
    assert run.name == "deep+short-keras-glyph-digits-s0"
    assert run.folder == settings.runs_dir / run.name
    expected = ["decoder.onnx", "encoder.onnx", "run.json"]
    assert sorted(files(settings.runs_dir)) == [f"{run.name}/{n}" for n in expected]
    record = json.loads((run.folder / "run.json").read_text())
    assert list(record) == [
        *("schema", "kind", "system", "variant", "framework", "dataset", "seed"),
        *("profile", "recipe", "parameters", "code", "history", "images_per_second"),
        *("test", "provenance"),
    ]
    provenance = record.pop("provenance")
    reconstruction = np.repeat(np.repeat(pooled(IMAGES)[..., 0], 4, 1), 4, 2)
    scores = metrics.score(IMAGES, reconstruction)
    test = record.pop("test")
    assert test.pop("accuracy") is None
    # NumPy and ONNX Runtime may round a grey level differently
    assert test == pytest.approx(scores, rel=1e-3)
    assert record == {
        "schema": 1,
        "kind": "autoencoder",
        "system": "deep",
        "variant": "short",
        "framework": "keras",
        "dataset": "glyph-digits",
        "seed": 0,
        "profile": "reader",
        "recipe": {
            "optimizer": "adam",
            "learning_rate": 0.001,
            "schedule": "constant",
            "loss": "mse",
            "epochs": 2,
            "batch_size": 128,
            "train_images": 1_000,
            "precision": "float32",
            "initial_bias": None,
            "logits": False,
            "distortion_weight": None,
            "noise": None,
            "shifted": None,
        },
        "parameters": {"total": 2, "encoder": 1, "decoder": 1},
        "code": {"shape": [7, 7, 1], "count": 49},
        "history": {"loss": [0.2, 0.1], "val_loss": [0.3, 0.2], "seconds": [8.0, 2.0]},
        "images_per_second": 200.0,  # 1,000 images in the median 5 seconds
    }
    assert provenance.keys() == {
        *("git", "versions", "dataset_sha256", "machine", "created")
    }
    assert provenance["dataset_sha256"] == DATASET.sha256
    assert provenance["git"] is None  # the project folder is no repository
    assert {"python", "numpy", "onnxruntime", "sewar"} <= provenance["versions"].keys()


def test_a_denoiser_is_scored_on_clean_and_on_noisy_images(settings):
    plain = save(settings).record
    record = save(settings, recipe=replace(RECIPE, noise="salt-pepper")).record
    assert record.test == plain.test
    noisy = noisy_test_images(IMAGES, "salt-pepper")
    answer = np.repeat(np.repeat(pooled(noisy)[..., 0], 4, 1), 4, 2)
    scores = dict(record.noisy_test)
    assert scores.pop("accuracy") is None
    assert scores == pytest.approx(metrics.score(IMAGES, answer), rel=1e-3)
    assert list(json.loads(record.to_json()))[-3:] == [
        *("test", "noisy_test", "provenance")
    ]
    assert "noisy_test" not in json.loads(plain.to_json())


def test_noisy_scores_without_noise_and_noise_without_scores_are_refused(settings):
    run = save(settings, recipe=replace(RECIPE, noise="blur"))
    text = (run.folder / "run.json").read_text()
    edit(run, put("recipe", "noise", value=None))
    with pytest.raises(RunError, match=r"noisy_test.*names None"):
        runs.read(run.folder)
    (run.folder / "run.json").write_text(text)
    edit(run, put("noisy_test", value=None))
    with pytest.raises(RunError, match=r"noisy_test.*names blur"):
        runs.read(run.folder)


def test_record_of_a_classifier(settings):
    run = save(settings, exported_classifier(), system="classifier", variant="nearest")
    assert run.name == "classifier+nearest-torch-glyph-digits-s0"
    record = run.record
    assert (record.kind, record.code) == ("classifier", None)
    assert dict(record.parameters) == {"total": 7, "encoder": None, "decoder": None}
    right = to_float(IMAGES).reshape(40, -1)[:, 400:410].argmax(axis=1) == LABELS
    test = dict(record.test)
    assert (test.pop("images"), test.pop("accuracy")) == (40, right.mean())
    assert set(test.values()) == {None} and "uqi_sewar" in test


def test_provenance_names_neither_machine_nor_user(settings):
    provenance = save(settings).record.provenance.model_dump_json()
    user = os.environ.get("USER") or Path.home().name
    for private in (os.uname().nodename, str(Path.home()), f"/{user}", os.getcwd()):
        assert len(private) < 2 or private not in provenance


def test_provenance_names_the_gpu_that_held_the_network(settings):
    machine = save(settings).record.provenance.machine
    given = replace(exported(), device="Some GPU")
    assert save(settings, given).record.provenance.machine == f"{machine}, Some GPU"


def test_a_perfect_reconstruction_has_no_psnr(settings):
    flat = np.full_like(IMAGES, 128)
    test = save(settings, dataset=replace(DATASET, test_images=flat)).record.test
    assert (test.mse, test.psnr) == (0, None)


def test_scored_on_as_many_images_as_the_profile_says(project):
    many = replace(
        DATASET,
        test_images=np.resize(IMAGES, (600, 28, 28)),
        test_labels=np.resize(LABELS, 600),
    )
    counts = {
        profile: save(settings_of(project, profile), dataset=many).record.test.images
        for profile in ("smoke", "reader")
    }
    assert counts == {"smoke": 500, "reader": 600}


def test_speed_is_that_of_the_median_epoch(settings):
    history = History([0.3, 0.2, 0.1], [0.3, 0.2, 0.1], [50.0, 4.0, 5.0])
    run = save(settings, recipe=replace(RECIPE, epochs=3), history=history)
    assert run.record.images_per_second == 200.0


# --- what is not saved ------------------------------------------------------------


def tampered(what: str) -> Exported:
    """An export whose files do not do what the framework did, or do it wrongly."""
    good = exported()
    code, decoded = good.outputs["encoder"], good.outputs["decoder"]
    nan = np.float32(np.nan)
    outputs, models = {}, {}
    if what == "code":
        outputs = {"encoder": code + np.float32(1e-4)}
    elif what == "image":
        outputs = {"decoder": decoded - np.float32(1e-4)}
    elif what == "large code":
        models = {"encoder": encoder(1e4)}
        outputs = {"encoder": code * np.float32(1.0001e4)}
    elif what == "shape":
        outputs = {"encoder": code[..., 0]}
    elif what == "NaN weight":
        models, outputs = {"decoder": decoder(nan)}, {"decoder": decoded * nan}
    elif what == "infinite weight":
        models = {"decoder": decoder(np.inf)}
    elif what == "NaN output":
        outputs = {"decoder": decoded * nan}
    elif what == "file":
        models = {"decoder": decoder()[:-40]}
    else:
        models = {"decoder": encoder()}
    return replace(
        good,
        models={**good.models, **models},
        outputs={**good.outputs, **outputs},
    )


TAMPERED = {
    "code": "differ by 1.0e-04 in the encoder; at most 1e-05",
    "image": "differ by 1.0e-04 in the decoder",
    "large code": "differ by 1.0e-04 in the encoder",
    "shape": r"gives \(16, 7, 7, 1\) for the encoder",
    "NaN weight": "weights of the decoder are not finite.*gain",
    "infinite weight": "weights of the decoder are not finite",
    "NaN output": "differ by nan",
    "file": "decoder",
    "other model": "decoder.onnx does not turn code",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_models_that_differ_from_the_framework_are_not_saved(settings, what):
    earlier = save(settings).folder
    before = files(settings.runs_dir)
    with pytest.raises(RunError, match=TAMPERED[what]):
        save(settings, tampered(what))
    assert files(settings.runs_dir) == before
    assert list(settings.runs_dir.iterdir()) == [earlier]


def test_large_codes_may_differ_in_their_last_digits(settings):
    good = exported()
    code = good.outputs["encoder"] * np.float32(1e4)
    save(
        settings,
        replace(
            good,
            models={"encoder": encoder(1e4), "decoder": decoder(1e-4)},
            outputs={**good.outputs, "encoder": code + np.float32(0.01)},
        ),
    )


@pytest.mark.parametrize(("share", "accepted"), [(1e-6, True), (5e-6, False)])
def test_small_numbers_may_have_the_rounding_of_large_ones(settings, share, accepted):
    """Sums that cancel to almost nothing have the rounding of their terms, no more."""
    good = exported()
    probe = good.probe.copy()
    probe[0, :4, :4] = 2  # the first code becomes small, the others stay large
    code = pooled(probe) * np.float32(1e4)
    small, largest = code[0].ravel()[0], code[0].max()
    assert small < largest / 20
    off = code.copy()
    off.reshape(len(off), -1)[0, 0] += np.float32(share) * largest
    decoded = np.repeat(np.repeat(off[..., 0], 4, 1), 4, 2) * np.float32(1e-4)
    given = replace(
        good,
        models={"encoder": encoder(1e4), "decoder": decoder(1e-4)},
        probe=probe,
        outputs={"encoder": off, "decoder": decoded},
    )
    if accepted:
        save(settings, given)
    else:
        with pytest.raises(RunError, match="differ by"):
            save(settings, given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": History([0.1], [0.1], [1.0])}, "2 epochs.*history has 1"),
        ({"history": History()}, "history has 0"),
        (
            {"history": History([0.2, np.nan], [0.3, 0.2], [1.0, 1.0])},
            r"history\.loss\.1: must be a finite number, not nan",
        ),
        ({"history": History([0.2, 0.1], [0.3], [1.0, 1.0])}, "have 2, 1, 2 entries"),
        ({"system": "Deep"}, "not a run's name"),
        ({"variant": "Short!"}, "not a run's name"),
        ({"dataset": replace(DATASET, sha256=None)}, "dataset_sha256: must be"),
        ({"dataset": replace(DATASET, test_images=IMAGES[:0])}, "at least one image"),
    ],
)
def test_mismatched_inputs_are_not_saved(settings, changes, message):
    with pytest.raises(RunError, match=message):
        save(settings, **changes)
    assert not settings.runs_dir.exists() or not list(settings.runs_dir.iterdir())


def test_failed_write_leaves_the_earlier_run(settings, monkeypatch):
    save(settings)
    before = files(settings.runs_dir)

    def full_disk(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full_disk)  # run.json is written last
    with pytest.raises(WriteError, match=r"deep\+short.*No space.*free some space"):
        save(settings, exported(gain=0.5))
    assert files(settings.runs_dir) == before
    assert len(list(settings.runs_dir.iterdir())) == 1


def test_place_that_cannot_be_written(project):
    (project / "file").touch()
    settings = Settings("reader", "glyph-digits", "x", 0, project / "file" / "runs")
    with pytest.raises(WriteError, match=r"file/runs/deep.*cannot be written"):
        save(settings)


def test_a_later_run_replaces_the_earlier(settings):
    save(settings)
    run = save(settings, exported(gain=0.5), recipe=replace(RECIPE, batch_size=64))
    assert [path.name for path in settings.runs_dir.iterdir()] == [run.name]
    again = runs.read(run.folder)
    assert again.record.recipe.batch_size == 64
    assert again.decode(pooled(IMAGES)).max() < 0.6


# --- finding runs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "there", "found"),
    [
        ("reader", "reference/source build/source build/short", "reference/source"),
        ("reader", "build/source build/short", "build/source"),
        ("reader", "build/short reference/short", "build/short"),
        ("reader", "build/short", "build/short"),
        ("reader", "reference/short", "reference/short"),
        ("full", "reference/source build/source", "build/source"),
        ("full", "reference/source build/short", "reference/source"),
        ("full", "reference/short build/short", "build/short"),
        ("smoke", "reference/source build/short", "build/short"),
        ("smoke", "reference/source build/source", "build/source"),
        ("smoke", "reference/source reference/short", "reference/source"),
        ("smoke", "reference/short", "reference/short"),
        ("reader", "", None),
    ],
)
def test_which_run_is_loaded(project, capsys, profile, there, found):
    folders = {"reference": "reference", "build": f"build/{profile}/runs"}
    saving = project / "elsewhere"
    for place_ in there.split():
        where, variant = place_.split("/")
        settings = Settings("reader", "glyph-digits", "x", 0, saving)
        run = save(settings, variant=variant)
        target = project / folders[where] / run.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run.folder, target)
    settings = settings_of(project, profile)
    capsys.readouterr()
    if found is None:
        with pytest.raises(RunError, match="no run deep-keras"):
            runs.load("deep", "keras", "glyph-digits", settings=settings)
        return
    where, variant = found.split("/")
    run = runs.load("deep", "keras", "glyph-digits", settings=settings)
    assert run.folder == project / folders[where] / run.name
    assert run.record.variant == variant
    line = capsys.readouterr().out
    label = "reference" if where == "reference" else "this build"
    assert line.startswith(f"using {run.name} ({label})") and line.count("\n") == 1
    briefly = "trained briefly (2 epochs of 1,000 images)"
    assert (briefly in line) == (variant == "short")


def on_mnist(run: Run, folder: Path) -> None:
    """Move a run to another folder, as one that was trained on MNIST."""
    edit(run, lambda record: record.update(dataset="mnist"))
    os.renames(run.folder, folder / run.name.replace("glyph-digits", "mnist"))


def test_drawn_digits_without_a_run_get_one_of_mnist(project, settings, capsys):
    recipe, history = SOURCE_RECIPES["deep"], History(*[[0.1] * 50] * 3)
    on_mnist(
        save(settings, variant="source", recipe=recipe, history=history),
        project / "reference",
    )
    capsys.readouterr()
    run = runs.load("deep", "keras", "glyph-digits", settings=settings)
    assert (run.record.dataset, run.instead_of) == ("mnist", "glyph-digits")
    assert capsys.readouterr().out == (
        "using deep-keras-mnist-s0 (reference), trained on mnist; the images of this "
        "page are drawn\n"
    )
    assert run.trained == "50 epochs of 60,000 images of mnist, reference"
    assert not run.comparable  # what this page measures is not on MNIST
    assert runs.load("deep", "keras", "mnist", settings=settings).comparable
    # a brief training on the drawn digits themselves comes first
    save(settings, variant="short")
    run = runs.load("deep", "keras", "glyph-digits", settings=settings)
    assert (run.record.dataset, run.instead_of) == ("glyph-digits", None)
    with pytest.raises(RunError, match="deep-keras-glyph-letters-s0"):
        runs.load("deep", "keras", "glyph-letters", settings=settings)


def test_record_without_models_is_found_but_not_loaded(project, settings):
    run = save(settings, variant="depth1")
    reference = project / "reference" / run.name
    os.renames(run.folder, reference)
    for model in reference.glob("*.onnx"):
        model.unlink()
    with pytest.raises(RunError, match="there is no run"):
        runs.load("deep", "keras", "glyph-digits", "depth1", settings=settings)
    (found,) = runs.find("deep", "glyph-digits", settings=settings)
    assert found.record.test.mse > 0


def test_all_full_trainings_of_a_system_are_found(project, settings, capsys):
    for variant in ("source", "matched+fast", "short", "matched+short"):
        save(settings, variant=variant)
    save(settings, system="deeper")
    name = "deep-keras-glyph-digits-s0"
    os.renames(settings.runs_dir / name, project / "reference" / name)
    on_mnist(save(settings, variant="source"), settings.runs_dir)
    capsys.readouterr()

    def found(dataset):
        found = runs.find("deep", dataset, settings=settings)
        return [(run.record.variant, run.instead_of) for run in found]

    assert found("glyph-digits") == [("matched+fast", None), ("source", None)]
    assert capsys.readouterr().out == (
        "found 2 finished trainings of deep (reference and this build)\n"
    )
    shutil.rmtree(project / "reference")
    shutil.rmtree(settings.runs_dir / "deep+matched+fast-keras-glyph-digits-s0")
    assert found("glyph-digits") == [("source", "glyph-digits")]
    assert "trained and tested on mnist" in capsys.readouterr().out
    assert found("glyph-letters") == []


def test_brief_training_of_a_variant_replaces_it(settings, capsys):
    def load(variant):
        return runs.load("deep", "keras", "glyph-digits", variant, settings=settings)

    save(settings, variant="nearest+short")
    capsys.readouterr()
    assert load("nearest").record.variant == "nearest+short"
    assert "trained briefly" in capsys.readouterr().out
    save(settings, variant="nearest")
    assert load("nearest").record.variant == "nearest"
    assert load("nearest+short").record.variant == "nearest+short"


def test_how_long_a_run_was_trained_and_whether_it_is_comparable(project, settings):
    run = save(settings)
    assert run.trained == "2 epochs of 1,000 images, this build"
    assert not run.comparable
    update = {"dataset": "mnist", "recipe": SOURCE_RECIPES["deep"]}
    as_the_source = run.record.model_copy(update=update)
    reference = Run(project / "reference" / run.name, as_the_source)
    assert reference.trained == "50 epochs of 60,000 images, reference"
    assert reference.comparable
    for change in ({"dataset": "glyph-digits"}, {"system": "ours"}):
        record = as_the_source.model_copy(update=change)
        assert not Run(run.folder, record).comparable


def test_nothing_replaces_a_short_run_or_another_variant(settings):
    save(settings, variant="source")
    for variant in ("short", "nearest", "nearest+short"):
        with pytest.raises(RunError, match=re.escape(variant)):
            runs.load("deep", "keras", "glyph-digits", variant, settings=settings)
    save(settings, variant="short")
    runs.load("deep", "keras", "glyph-digits", "short", settings=settings)
    with pytest.raises(RunError, match="-s1"):
        runs.load("deep", "keras", "glyph-digits", seed=1, settings=settings)


def test_error_says_where_a_run_was_looked_for_and_what_to_do(project, settings):
    with pytest.raises(RunError) as caught:
        runs.load("deep", "torch", "mnist", settings=settings)
    assert str(caught.value) == (
        "there is no run deep-torch-mnist-s0 or deep+fast-torch-mnist-s0 or "
        "deep+short-torch-mnist-s0 in "
        f"{settings.runs_dir} or {project / 'reference'}. Run 'make book', which "
        "trains it."
    )


def test_damaged_run_is_an_error_even_if_there_is_another(project, settings):
    run = save(settings, variant="source")
    os.renames(run.folder, project / "reference" / run.name)
    save(settings, variant="source")
    (project / "reference" / run.name / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"reference.*run\.json"):
        runs.load("deep", "keras", "glyph-digits", settings=settings)


def test_list_runs(settings):
    names = [save(settings, system=s).name for s in ("shallow", "deep", "code16")]
    (settings.runs_dir / ".saving-x").mkdir()
    (settings.runs_dir / ".saving-x" / "run.json").write_text("{")
    (settings.runs_dir / "no run").mkdir()
    assert [run.name for run in runs.list_runs(settings.runs_dir)] == sorted(names)
    assert runs.list_runs(settings.runs_dir / "nowhere") == []
    (settings.runs_dir / names[0] / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"shallow.*run\.json"):
        runs.list_runs(settings.runs_dir)


# --- damaged and hostile records --------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"schema": 1}',
        b'{"schema": NaN}',
        b"[" * 100_000,
    ],
)
def test_file_that_is_no_record(settings, content):
    run = save(settings)
    (run.folder / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json cannot be used"):
        runs.read(run.folder)


def test_missing_record(tmp_path):
    with pytest.raises(RunError, match=r"run\.json cannot be used"):
        runs.read(tmp_path / "deep-keras-mnist-s0")


def without(*path):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        del record[path[-1]]

    return change


def put(*path, value):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in ("schema", "kind", "system", "variant", "framework")),
        *((name,) for name in ("dataset", "seed", "profile", "recipe", "parameters")),
        *((name,) for name in ("code", "history", "images_per_second", "test")),
        *(("provenance",), ("recipe", "epochs"), ("parameters", "encoder")),
        *(("code", "shape"), ("history", "seconds"), ("test", "uqi_sewar")),
        ("provenance", "git"),
    ],
    ids=".".join,
)
def test_field_that_is_missing_or_of_another_type(settings, path):
    run = save(settings)
    for change in (without(*path), put(*path, value={"<b>": 1})):
        text = (run.folder / "run.json").read_text()
        edit(run, change)
        with pytest.raises(RunError, match=f"cannot be used: .*{path[-1]}"):
            runs.read(run.folder)
        (run.folder / "run.json").write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", value=2), "schema: this version reads schema 1, not 2"),
        (put("schema", value=True), "schema: must be a valid integer, not True"),
        (put("kind", value="diffusion"), "kind: must be 'autoencoder' or 'classifier'"),
        (put("kind", value="classifier"), "code: must be null"),
        (put("code", value=None), "code: is missing"),
        (put("code", "shape", value=[49]), "code.shape"),
        (put("code", "count", value=16), r"code: count must be the product of .*\[7, "),
        (put("code", "shape", value=[7, 7, "1"]), "code.shape.2: must be a valid int"),
        (put("code", "shape", value=[-7, -7, 1]), "code.shape.0: must be greater"),
        (put("recipe", "epochs", value="50"), "recipe.epochs: must be a valid integer"),
        (put("recipe", "epochs", value=True), "recipe.epochs: must be a valid integer"),
        (put("recipe", "optimizer", value="guess"), "recipe.optimizer: must be 'adam'"),
        (put("parameters", "total", value=None), "parameters.total"),
        (put("parameters", "total", value=1.0), "parameters.total"),
        (put("test", value=None), "test: must be an object"),
        (put("test", "mse", value=None), "test.mse: must be a number"),
        (put("test", "mse", value="small"), "test.mse: must be .*, not 'small'"),
        (put("test", "mse", value=True), "test.mse: must be a valid number, not True"),
        (put("test", "mse", value=float("nan")), "test.mse: must be a finite number"),
        (put("test", "mse", value=10**400), "test.mse: must be a finite number"),
        (put("history", "loss", value=[0.1]), "history: .* equally long"),
        (put("history", "loss", value={"0": 1}), "history.loss: must be a valid array"),
        (put("history", "loss", value=[0.1, "0.2"]), "history.loss.1: must be"),
        (put("provenance", "versions", value=[]), "provenance.versions"),
        (put("system", value="../deep"), "not a run's name"),
        (put("seed", value=-1), "seed: must be greater than or equal to 0"),
        (put("seed", value=1), "is the record of deep.*-s1"),
        (put("framework", value="jax"), "framework: must be 'keras' or 'torch'"),
        (put("dataset", value="mnist"), "is the record of deep.*mnist"),
    ],
)
def test_invalid_record_is_refused_by_field(settings, change, message):
    run = save(settings)
    edit(run, change)
    with pytest.raises(RunError, match=message) as caught:
        runs.read(run.folder)
    assert "\n" not in str(caught.value) and "http" not in str(caught.value)


def test_unknown_fields_are_kept_and_whole_numbers_are_floats(settings):
    run = save(settings)
    edit(run, put("note", value="of a later version"))
    edit(run, put("recipe", "momentum", value=0.9))
    edit(run, put("recipe", "learning_rate", value=1))
    edit(run, put("test", "lpips", value=0.1))
    record = runs.read(run.folder).record
    assert (record.note, record.test.lpips) == ("of a later version", 0.1)
    assert type(record.recipe.learning_rate) is float
    written = json.loads(record.to_json())
    assert written == json.loads((run.folder / "run.json").read_text())


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    """A recipe with a field that today's does not have."""

    momentum: float = 0.9


class LaterRecord(Record):
    recipe: LaterRecipe


def test_earlier_records_lack_later_fields_of_a_recipe():
    path = root() / "reference" / "code16-keras-mnist-s0" / "run.json"
    recipe = LaterRecord.model_validate_json(path.read_bytes()).recipe
    assert recipe == LaterRecipe(loss="bce", epochs=20, batch_size=32)


@pytest.mark.parametrize("content", [None, b"", b"no model", "half"])
def test_damaged_model_file(settings, content):
    run = save(settings)
    path = run.folder / "decoder.onnx"
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    again = runs.read(run.folder)
    assert again.encode(IMAGES).shape == (40, 7, 7, 1)
    with pytest.raises(RunError, match=r"deep.*decoder\.onnx"):
        again.reconstruct(IMAGES)


def test_model_files_that_were_swapped(settings):
    run = save(settings)
    (run.folder / "encoder.onnx").write_bytes(decoder())
    with pytest.raises(RunError, match=r"encoder\.onnx does not turn images"):
        runs.read(run.folder).encode(IMAGES)


# --- using runs -------------------------------------------------------------------


def test_encode_decode_and_reconstruct(settings):
    run = save(settings, exported(gain=2.0))
    code = run.encode(IMAGES)
    assert code.dtype == np.float32 and np.allclose(code, pooled(IMAGES), atol=1e-6)
    images = run.decode(code)
    expected = 2 * np.repeat(np.repeat(code[..., 0], 4, 1), 4, 2)
    assert images.shape == (40, 28, 28) and np.allclose(images, expected)
    assert np.array_equal(run.decoded(IMAGES), images)
    assert images.max() > 1  # only uint8 images are clipped
    assert np.array_equal(run.reconstruct(IMAGES), to_uint8(images))


def test_classify(settings):
    run = save(settings, exported_classifier(), system="classifier")
    probabilities = run.classify(IMAGES)
    assert probabilities.shape == (40, 10)
    assert np.allclose(probabilities.sum(axis=1), 1)


def batch_counter(model: str) -> bytes:
    """A model that answers with the number of images in its batch."""
    ends = {"images": (28, 28), "code": (7, 7, 1)}
    source, target = ("images", "code") if model == "encoder" else ("code", "images")
    node = helper.make_node
    nodes = [
        node("Shape", [source], ["count"], start=0, end=1),
        node("Cast", ["count"], ["float"], to=1),
        node("Concat", ["count", "sides"], ["shape"], axis=0),
        node("Expand", ["float", "shape"], [target]),
    ]
    weights = {"sides": np.array(ends[target])}
    return onnx_model(nodes, (source, ends[source]), (target, ends[target]), weights)


def test_networks_work_batch_by_batch(settings):
    run = save(settings)
    for model in ("encoder", "decoder"):
        (run.folder / f"{model}.onnx").write_bytes(batch_counter(model))
    run = runs.read(run.folder)
    images = np.resize(IMAGES, (2 * runs.BATCH + 1, 28, 28))
    expected = [runs.BATCH] * (2 * runs.BATCH) + [1]
    code = run.encode(images)
    for answer in (code, run.decode(code), run.decoded(images)):
        assert answer.reshape(len(images), -1).max(axis=1).tolist() == expected
    assert runs.BATCH <= 100


def test_codes_of_all_images_are_never_in_memory(settings):
    run = save(settings)
    node = helper.make_node
    wide, images = ("code", (28, 28, 16)), ("images", (28, 28))
    last = {"last": np.array([3])}
    widen = [
        node("Unsqueeze", ["images", "last"], ["a"]),
        node("Tile", ["a", "repeats"], ["code"]),
    ]
    weights = {**last, "repeats": np.array([1, 1, 1, 16])}
    encoder = onnx_model(widen, images, wide, weights)
    mean = [node("ReduceMean", ["code", "last"], ["images"], keepdims=0)]
    decoder = onnx_model(mean, wide, images, last)
    (run.folder / "encoder.onnx").write_bytes(encoder)
    (run.folder / "decoder.onnx").write_bytes(decoder)
    edit(run, put("code", value={"shape": [28, 28, 16], "count": 28 * 28 * 16}))
    run, many = runs.read(run.folder), np.resize(IMAGES, (500, 28, 28))
    tracemalloc.start()
    try:
        decoded = run.decoded(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.allclose(decoded, to_float(many), atol=1e-6)
    assert peak < 6 * decoded.nbytes  # all codes take 16 times as much


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (np.zeros((3, 7, 7, 1)), TypeError, "not float64"),
        (np.zeros((3, 7, 7, 1), np.uint8), TypeError, "not uint8"),
        (np.zeros((3, 1, 7, 7), np.float32), TypeError, r"\(N, 7, 7, 1\), not"),
        (np.zeros((7, 7, 1), np.float32), TypeError, r"\(7, 7, 1\)"),
        (np.float32(0), TypeError, r"float32 \(\)"),
        ([[0.0]], TypeError, "not list"),
        (np.zeros((0, 7, 7, 1), np.float32), ValueError, "no code"),
    ],
)
def test_code_of_another_shape_or_type_is_refused(settings, code, error, message):
    run = save(settings)
    with pytest.raises(error, match=message) as caught:
        run.decode(code)
    assert run.name in str(caught.value)


def test_images_are_checked(settings):
    run = save(settings)
    for use in (run.encode, run.decoded, run.reconstruct):
        with pytest.raises(TypeError, match="uint8"):
            use(IMAGES / 255)
        with pytest.raises(ValueError, match="at least one"):
            use(IMAGES[:0])


def test_a_run_has_only_the_models_of_its_kind(settings):
    run = save(settings)
    with pytest.raises(RunError, match="'autoencoder': it has no classifier"):
        run.classify(IMAGES)
    run = save(settings, exported_classifier(), system="classifier")
    with pytest.raises(RunError, match="'classifier': it has no encoder"):
        run.encode(IMAGES)
    with pytest.raises(RunError, match="'classifier': it has no decoder"):
        run.decode(np.zeros((1, 7, 7, 1), np.float32))


def test_row_of_a_table(settings):
    run = save(settings)
    test = run.record.test
    assert run.row() == {
        "system": "deep+short",
        "framework": "keras",
        "parameters": 2,
        "code": 49,
        "BCE": test.bce,
        "MSE": test.mse,
        "PSNR, dB": test.psnr,
        "SSIM": test.ssim,
        "UQI": test.uqi,
        "UQI (sewar)": test.uqi_sewar,
    }
    run = save(settings, exported_classifier(), system="classifier", variant="source")
    assert run.row() == {
        "system": "classifier",
        "framework": "torch",
        "parameters": 7,
        "accuracy": run.record.test.accuracy,
    }


def test_runs_can_be_keys(settings):
    run = save(settings)
    assert {run: 1}[runs.read(run.folder)] == 1


@pytest.mark.parametrize(
    ("value", "threads"), [("1", 1), ("2,1", 2), ("", 0), ("all", 0), (None, 0)]
)
def test_threads_follow_the_environment(settings, monkeypatch, value, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    session = runs.Network(encoder(), "encoder", "encoder.onnx").session
    assert session.get_session_options().intra_op_num_threads == threads


def test_evaluation_imports_no_framework(settings):
    run = save(settings)
    program = (
        "import sys, numpy; from pathlib import Path; from caebook import runs\n"
        "run = runs.read(Path(sys.argv[1]))\n"
        "run.reconstruct(numpy.zeros((3, 28, 28), numpy.uint8)); run.row()\n"
        "loaded = {'tensorflow', 'keras', 'torch', 'onnx'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, run.folder], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


# --- from training to evaluation --------------------------------------------------


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_trained_network_is_saved_and_comes_back(settings, framework):
    networks = pytest.importorskip("test_training")
    on = {"keras": networks.Keras, "torch": networks.Torch}[framework]
    encoder, decoder = on.coder()
    recipe = replace(RECIPE, epochs=1, train_images=40)
    if framework == "keras":
        model = networks.keras.Sequential([encoder, decoder])
    else:
        model = networks.nn.Sequential(encoder, decoder)
    history = on.module.fit(model, IMAGES, recipe, validation=IMAGES)
    run = save(
        settings,
        on.module.export(encoder, decoder, IMAGES),
        system="deep",
        recipe=recipe,
        history=history,
    )
    assert run.name == f"deep+short-{framework}-glyph-digits-s0"
    expected = on.last(on.module.predict(model, IMAGES))[..., 0]
    decoded = runs.read(run.folder).decoded(IMAGES)
    assert np.abs(decoded - expected).max() <= 1e-5
    assert (run.record.code.shape, run.record.code.count) == ((7, 7, 2), 98)
    assert run.record.history == history
    assert run.record.test.mse == pytest.approx(
        np.mean((to_uint8(expected) / 255 - IMAGES / 255) ** 2)
    )


def test_profiles_and_runs_mean_the_same_variant(project):
    for profile in profiles.PROFILES:
        settings = settings_of(project, profile)
        record = save(settings).record
        assert (record.variant, record.profile) == (settings.variant, profile)
