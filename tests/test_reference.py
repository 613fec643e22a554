"""The runs under ``reference/``: what they claim to be, and what they score."""

import json
import os

import numpy as np
import pytest

from caebook import data, runs
from caebook.evaluation import metrics
from caebook.files import root

RUNS = runs.list_runs(root() / "reference")
by_name = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)

#: The runs that are scored on all of their test images, one a framework.
WHOLE = ("code16-keras-mnist-s0", "code16-torch-mnist-s0")
SAMPLE = 500  # test images for each of the others


@by_name
def test_reference_is_the_sources_recipe_at_a_known_commit(run):
    record = run.record
    assert record.profile == "full" and record.variant == "source"
    assert run.comparable, "recipe or data differ from the source's"
    assert record.test.images == 10_000
    assert record.provenance.git, "trained outside a checkout"
    assert "dirty" not in record.provenance.git


@by_name
def test_reference_is_small_and_complete(run):
    files = {path.name: path.stat().st_size for path in run.folder.iterdir()}
    models = runs.MODELS[run.record.kind]
    assert {f"{model}.onnx" for model in models} | {"run.json"} == {
        name for name in files if not name.startswith("codec-")
    }
    assert sum(files.values()) < 5_000_000


@by_name
def test_earlier_record_is_written_again_as_it_was(run):
    """These records are older than the code that reads them."""
    text = (run.folder / "run.json").read_text()
    assert run.record.to_json() == text
    content = json.loads(text)
    assert (
        run.record.code is None
        or list(run.record.code.shape) == (content["code"]["shape"])
    )
    assert run.record.recipe.epochs == content["recipe"]["epochs"]
    assert run.record.history.val_loss == content["history"]["val_loss"]


def dataset_of(run):
    if not os.environ.get("CAEBOOK_DATA"):
        pytest.skip("set CAEBOOK_DATA to score the reference runs on the real MNIST")
    dataset = data.load(run.record.dataset)
    assert run.record.provenance.dataset_sha256 == dataset.sha256
    return dataset


@pytest.mark.parametrize("name", WHOLE)
def test_reference_scores_what_its_record_says(name):
    run = runs.read(root() / "reference" / name)
    images = dataset_of(run).test_images
    assert len(images) == run.record.test.images
    recorded = dict(run.record.test)
    assert recorded.pop("accuracy") is None
    # Another processor adds in another order; a rounded pixel may differ.
    scores = metrics.score(images, run.decoded(images))
    assert scores == pytest.approx(recorded, rel=1e-4)


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.name not in WHOLE], ids=lambda run: run.name
)
def test_sample_scores_about_what_the_record_says(run):
    """Every score is within five standard errors of the recorded mean."""
    dataset = dataset_of(run)
    part = slice(None, None, len(dataset.test_images) // SAMPLE)
    images, labels = dataset.test_images[part], dataset.test_labels[part]
    assert len(images) == SAMPLE
    if run.record.kind == "classifier":
        right = run.classify(images).argmax(axis=1) == labels
        scores = {"accuracy": right}
    else:
        floats = run.decoded(images)
        reconstructions = run.reconstruct(images)
        scores = {"bce": metrics.bce(images, floats)}
        for name in ("mse", "ssim", "uqi", "uqi_sewar"):
            scores[name] = getattr(metrics, name)(images, reconstructions)
    for name, values in scores.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        recorded = getattr(run.record.test, name)
        assert np.mean(values) == pytest.approx(recorded, abs=5 * error), name
