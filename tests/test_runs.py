"""Saving, finding and using runs.

Most of these tests use networks that are written down as ONNX here, without any
framework: the encoder takes the means of 4 × 4 pixels, the decoder repeats them. What
the frameworks make is saved and read back at the end.
"""

import errno
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny import onnx_model

from caebook import runs
from caebook import settings as profiles
from caebook.data import Dataset
from caebook.evaluation import metrics
from caebook.images import to_float, to_uint8
from caebook.runs import Run, RunError
from caebook.settings import Settings
from caebook.training import Exported, History, Recipe
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
    """The pooling autoencoder; all gain 1 makes it the same in every pixel block."""
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


def edit(run: Run, change) -> Path:
    """Change a saved record in place."""
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return run.folder


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
        # could be taken apart in two ways
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
def test_names_of_no_run(name):
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
    assert record == run.record and record.keys() == runs.FIELDS
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


def test_record_of_a_classifier(settings):
    run = save(settings, exported_classifier(), system="classifier", variant="nearest")
    assert run.name == "classifier+nearest-torch-glyph-digits-s0"
    record = run.record
    assert record.keys() == runs.FIELDS
    assert (record["kind"], record["code"]) == ("classifier", None)
    assert record["parameters"] == {"total": 7, "encoder": None, "decoder": None}
    right = to_float(IMAGES).reshape(40, -1)[:, 400:410].argmax(axis=1) == LABELS
    test = dict(record["test"])
    assert (test.pop("images"), test.pop("accuracy")) == (40, right.mean())
    assert set(test.values()) == {None} and "uqi_sewar" in test


def test_provenance_names_neither_machine_nor_user(settings):
    provenance = json.dumps(save(settings).record["provenance"])
    user = os.environ.get("USER") or Path.home().name
    for private in (os.uname().nodename, str(Path.home()), f"/{user}", os.getcwd()):
        assert len(private) < 2 or private not in provenance


def test_a_perfect_copy_has_no_psnr(settings, monkeypatch):
    flat = np.full_like(IMAGES, 128)
    dataset = replace(DATASET, test_images=flat)
    test = save(settings, dataset=dataset).record["test"]
    assert (test["mse"], test["psnr"]) == (0, None)


def test_scored_on_as_many_images_as_the_profile_says(project):
    many = replace(
        DATASET,
        test_images=np.resize(IMAGES, (600, 28, 28)),
        test_labels=np.resize(LABELS, 600),
    )
    counts = {
        profile: save(settings_of(project, profile), dataset=many).record["test"]
        for profile in ("smoke", "reader")
    }
    assert {k: v["images"] for k, v in counts.items()} == {"smoke": 500, "reader": 600}


def test_speed_is_that_of_the_median_epoch(settings):
    history = History([0.3, 0.2, 0.1], [0.3, 0.2, 0.1], [50.0, 4.0, 5.0])
    run = save(settings, recipe=replace(RECIPE, epochs=3), history=history)
    assert run.record["images_per_second"] == 200.0


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
def test_models_that_disagree_are_not_saved(settings, what):
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
def test_a_small_number_among_large_ones_keeps_their_rounding(
    settings, share, accepted
):
    """Sums that cancel to almost nothing keep the rounding of their terms, no more."""
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
        ({"history": History([0.2, np.nan], [0.3, 0.2], [1.0, 1.0])}, "history.loss"),
        ({"history": History([0.2, 0.1], [0.3], [1.0, 1.0])}, "differ in length"),
        ({"system": "Deep"}, "not a run's name"),
        ({"variant": "Short!"}, "not a run's name"),
        ({"dataset": replace(DATASET, sha256=None)}, "dataset_sha256"),
        ({"dataset": replace(DATASET, test_images=IMAGES[:0])}, "at least one image"),
    ],
)
def test_what_does_not_go_together_is_not_saved(settings, changes, message):
    with pytest.raises(RunError, match=message):
        save(settings, **changes)
    assert not settings.runs_dir.exists() or not list(settings.runs_dir.iterdir())


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("failing", ["write_bytes", "write_text", "aside", "rename"])
def test_failure_in_the_middle_leaves_what_was_there(
    settings, monkeypatch, failing, earlier
):
    if earlier:
        save(settings)
    before = files(settings.runs_dir)
    if failing.startswith("write"):
        monkeypatch.setattr(Path, failing, full_disk)
    else:
        rename, calls = os.replace, []

        def replace_until(source, target):
            calls.append(target)
            if len(calls) == (1 if failing == "aside" else 1 + earlier):
                full_disk()
            rename(source, target)

        monkeypatch.setattr(os, "replace", replace_until)
    other = replace(RECIPE, learning_rate=0.5)
    with pytest.raises(RunError, match=r"deep\+short.*cannot be written.*No space"):
        save(settings, recipe=other)
    monkeypatch.undo()
    assert files(settings.runs_dir) == before
    assert len(list(settings.runs_dir.iterdir())) == earlier


def test_interrupted_save_leaves_nothing(settings, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics, "score", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(settings)
    assert list(settings.runs_dir.iterdir()) == []


def test_place_that_cannot_be_written(project):
    (project / "file").touch()
    settings = Settings("reader", "glyph-digits", "x", 0, project / "file" / "runs")
    with pytest.raises(RunError, match=r"cannot be written under .*file"):
        save(settings)


def test_a_later_run_replaces_the_earlier(settings):
    save(settings)
    run = save(settings, exported(gain=0.5), recipe=replace(RECIPE, batch_size=64))
    assert [path.name for path in settings.runs_dir.iterdir()] == [run.name]
    again = runs.read(run.folder)
    assert again.record["recipe"]["batch_size"] == 64
    assert again.decode(pooled(IMAGES)).max() < 0.6


# --- finding runs -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "there", "found"),
    [
        ("reader", "reference/source build/source build/short", "reference/source"),
        ("reader", "build/source build/short", "build/source"),
        ("reader", "build/short reference/short", "reference/short"),
        ("reader", "build/short", "build/short"),
        ("full", "reference/source build/source", "build/source"),
        ("full", "reference/source build/short", "reference/source"),
        ("full", "reference/short build/short", "build/short"),
        ("smoke", "reference/source build/short", "build/short"),
        ("smoke", "reference/source build/source", "build/source"),
        ("smoke", "reference/source", None),
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
        with pytest.raises(RunError, match="no run of deep"):
            runs.load("deep", "keras", "glyph-digits", settings=settings)
        return
    where, variant = found.split("/")
    run = runs.load("deep", "keras", "glyph-digits", settings=settings)
    assert run.folder == project / folders[where] / run.name
    assert run.record["variant"] == variant
    line = capsys.readouterr().out
    label = "reference" if where == "reference" else "this build"
    assert line.startswith(f"using {run.name} ({label})") and line.count("\n") == 1
    assert ("for want of" in line) == (variant == "short")


def test_brief_training_of_a_variant_stands_in_for_it(settings, capsys):
    def load(variant):
        return runs.load("deep", "keras", "glyph-digits", variant, settings=settings)

    save(settings, variant="nearest+short")
    capsys.readouterr()
    assert load("nearest").record["variant"] == "nearest+short"
    assert "for want of a fully trained one" in capsys.readouterr().out
    save(settings, variant="nearest")
    assert load("nearest").record["variant"] == "nearest"
    assert load("nearest+short").record["variant"] == "nearest+short"


def test_what_a_claim_is_weighed_by(project, settings):
    run = save(settings)
    assert run.trained == "2 epochs of 1,000 images, this build"
    assert not run.comparable
    source = asdict(SOURCE_RECIPES["deep"])
    as_the_source = dict(run.record, dataset="mnist", recipe=source)
    reference = Run(project / "reference" / run.name, as_the_source)
    assert reference.trained == "50 epochs of 60,000 images, reference"
    assert reference.comparable
    assert not Run(run.folder, dict(as_the_source, dataset="glyph-digits")).comparable
    assert not Run(run.folder, dict(as_the_source, system="ours")).comparable


def test_asked_for_short_or_another_variant_nothing_stands_in(settings):
    save(settings, variant="source")
    for variant in ("short", "nearest", "nearest+short"):
        with pytest.raises(RunError, match=re.escape(variant)):
            runs.load("deep", "keras", "glyph-digits", variant, settings=settings)
    save(settings, variant="short")
    runs.load("deep", "keras", "glyph-digits", "short", settings=settings)
    with pytest.raises(RunError, match="seed 1"):
        runs.load("deep", "keras", "glyph-digits", seed=1, settings=settings)


@pytest.mark.parametrize(
    ("profile", "there", "found"),
    [
        ("reader", "reference build", "reference"),
        ("reader", "build", "build"),
        ("full", "reference build", "build"),
        ("full", "reference", "reference"),
        ("smoke", "reference build", "build"),
        ("smoke", "reference", None),
        ("reader", "", None),
    ],
)
def test_runs_of_an_experiment_come_from_one_place(
    project, capsys, profile, there, found
):
    folders = {"reference": "reference", "build": f"build/{profile}/runs"}
    variants = {"reference": ["depth1"], "build": ["depth1+short", "depth2+short"]}
    saving = Settings("reader", "glyph-digits", "x", 0, project / "elsewhere")
    for where in there.split():
        for variant in [*variants[where], "short"]:  # a plain run is no part of it
            run = save(saving, variant=variant)
            os.renames(run.folder, project / folders[where] / run.name)
    settings = settings_of(project, profile)
    capsys.readouterr()
    if found is None:
        with pytest.raises(RunError, match="no run of deep on glyph-digits"):
            runs.find("deep", "glyph-digits", settings=settings)
        return
    runs_found = runs.find("deep", "glyph-digits", settings=settings)
    assert [run.record["variant"] for run in runs_found] == variants[found]
    assert {run.folder.parent for run in runs_found} == {project / folders[found]}
    assert f"using {len(runs_found)} runs of deep" in capsys.readouterr().out
    with pytest.raises(RunError, match="on mnist"):
        runs.find("deep", "mnist", settings=settings)


def test_error_names_the_chapter_to_run(project, settings):
    notebooks = project / "notebooks"
    notebooks.mkdir()
    declared = {
        "03_shallow": ["shallow{short}-keras-{digits}-s{seed}"],
        "04_deep": ["deep{short}-torch-{digits}-s{seed}"],
        "05_more": ["deep+nearest{short}-torch-{digits}-s{seed}"],
    }
    for name, writes in declared.items():
        metadata = {"caebook": {"reads": [], "writes": writes}}
        text = json.dumps({"metadata": metadata, "cells": []})
        (notebooks / f"{name}.ipynb").write_text(text)
    (notebooks / "00_broken.ipynb").write_text("{")
    (notebooks / "00_other.ipynb").write_text(
        '{"metadata": {"caebook": {"writes": 3}}}'
    )

    def message(*arguments):
        with pytest.raises(RunError) as caught:
            runs.load(*arguments, settings=settings)
        assert str(settings.runs_dir) in str(caught.value)
        return str(caught.value)

    assert "Run notebooks/04_deep.ipynb first" in message("deep", "torch", "mnist")
    assert "Run notebooks/04_deep.ipynb first" in message(
        "deep", "torch", "mnist", "short"
    )
    assert "Run notebooks/05_more.ipynb first" in message(
        "deep", "torch", "mnist", "nearest"
    )
    # nobody writes these
    assert "Run the chapter that" in message("deep", "keras", "mnist")
    assert "Run the chapter that" in message("dee", "torch", "mnist")


def test_damaged_run_is_not_passed_over(project, settings):
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


@pytest.mark.parametrize("field", sorted(runs.FIELDS))
def test_record_that_lacks_a_field_or_holds_another_type(settings, field):
    run = save(settings)
    edit(run, lambda record: record.pop(field))
    with pytest.raises(RunError, match="schema" if field == "schema" else field):
        runs.read(run.folder)
    run = save(settings)
    edit(run, lambda record: record.update({field: ["<b>"]}))
    with pytest.raises(RunError, match="schema" if field == "schema" else field):
        runs.read(run.folder)


def put(*path, value):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", value=2), "schema 1"),
        (put("schema", value=True), "record.schema"),
        (put("kind", value="diffusion"), "kind 'diffusion'"),
        (put("kind", value="classifier"), "record.code"),
        (put("code", value=None), "record.code"),
        (put("code", "shape", value=[49]), "code.shape"),
        (put("code", "count", value=16), "code.shape"),
        (put("code", "shape", value=[7, 7, "1"]), "code.shape must be int"),
        (put("recipe", "epochs", value="50"), "recipe.epochs must be int"),
        (put("parameters", "total", value=None), "parameters.total"),
        (put("test", value=None), "test"),
        (put("test", "mse", value=None), "test lacks mse"),
        (put("test", "mse", value="small"), "test.mse must be a finite number"),
        (put("test", "mse", value=float("nan")), "test.mse must be a finite number"),
        (put("test", "mse", value=10**400), "run.json cannot be used"),
        (put("history", "loss", value=[0.1]), "history differ in length"),
        (put("history", "loss", value={"0": 1}), "history.loss must be list"),
        (put("provenance", "versions", value=[]), "provenance.versions"),
        (put("system", value="../deep"), "not a run's name"),
        (put("seed", value=-1), "not a run's name"),
        (put("seed", value=1), "is the record of deep.*-s1"),
        (put("framework", value="jax"), "not a run's name"),
        (put("dataset", value="mnist"), "is the record of deep.*mnist"),
    ],
)
def test_record_that_cannot_be_relied_on(settings, change, message):
    run = save(settings)
    edit(run, change)
    with pytest.raises(RunError, match=message):
        runs.read(run.folder)


def test_unknown_fields_and_whole_numbers_are_let_through(settings):
    run = save(settings)
    edit(run, put("note", value="of a later version"))
    edit(run, put("recipe", "learning_rate", value=1))
    assert runs.read(run.folder).record["note"] == "of a later version"


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
    assert images.max() > 1  # clipped only when the image is handed out
    assert np.array_equal(run.reconstruct(IMAGES), to_uint8(images))


def test_classify(settings):
    run = save(settings, exported_classifier(), system="classifier")
    probabilities = run.classify(IMAGES)
    assert probabilities.shape == (40, 10)
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_work_is_done_in_batches_of_at_most_500(settings, monkeypatch):
    run = save(settings)
    sizes = []

    class Recording:
        def __init__(self, session):
            self.session = session

        def run(self, names, inputs):
            sizes.extend(len(values) for values in inputs.values())
            return self.session.run(names, inputs)

    opened = runs._open
    monkeypatch.setattr(runs, "_open", lambda *args: Recording(opened(*args)))
    images = np.resize(IMAGES, (1_201, 28, 28))
    for use in (run.decoded, run.reconstruct, lambda x: run.decode(run.encode(x))):
        sizes.clear()
        assert len(use(images)) == 1_201
        assert max(sizes) <= 500 and sum(sizes) == 2 * 1_201


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
def test_code_that_is_none_of_this_run(settings, code, error, message):
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


def test_a_classifier_does_not_encode_nor_the_other_way_round(settings):
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
    test = run.record["test"]
    assert run.row() == {
        "system": "deep+short",
        "framework": "keras",
        "parameters": 2,
        "code": 49,
        "BCE": test["bce"],
        "MSE": test["mse"],
        "PSNR, dB": test["psnr"],
        "SSIM": test["ssim"],
        "UQI": test["uqi"],
        "UQI (sewar)": test["uqi_sewar"],
    }
    run = save(settings, exported_classifier(), system="classifier", variant="source")
    assert run.row() == {
        "system": "classifier",
        "framework": "torch",
        "parameters": 7,
        "accuracy": run.record["test"]["accuracy"],
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
    session = runs._open(encoder(), "encoder")
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


# --- git --------------------------------------------------------------------------


def test_git_version_outside_a_repository(project):
    start = time.monotonic()
    assert runs.git_version() is None
    assert time.monotonic() - start < 5


def test_git_version_of_a_checkout(project, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=project, check=True, capture_output=True)

    git("init")
    (project / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    clean = runs.git_version()
    assert len(clean) == 12 and int(clean, 16) >= 0
    (project / "file").write_text("two")
    assert runs.git_version() == f"{clean}-dirty"
    # a folder in someone else's repository is no checkout of this project
    (project / "inside").mkdir()
    monkeypatch.setenv("CAEBOOK_ROOT", str(project / "inside"))
    assert runs.git_version() is None


def test_git_version_without_git(project, monkeypatch):
    (project / ".git").mkdir()
    assert runs.git_version() is None  # no repository after all
    monkeypatch.setenv("PATH", "")
    assert runs.git_version() is None


# --- from the frameworks to the shelf ---------------------------------------------


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
    assert run.record["code"] == {"shape": [7, 7, 2], "count": 98}
    assert run.record["history"]["loss"] == history.loss
    assert run.record["test"]["mse"] == pytest.approx(
        np.mean((to_uint8(expected) / 255 - IMAGES / 255) ** 2)
    )


def test_profiles_and_runs_mean_the_same_variant(project):
    for profile in profiles.PROFILES:
        settings = settings_of(project, profile)
        assert save(settings).record["variant"] == settings.variant
        assert save(settings).record["profile"] == profile
