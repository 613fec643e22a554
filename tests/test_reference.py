"""The runs under ``reference/``: what they claim to be, and what they score."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from caebook import data, runs
from caebook.build.plan import read_plan
from caebook.evaluation import metrics
from caebook.files import root
from caebook.training import SOURCE_RECIPES

RUNS = runs.list_runs(root() / "reference")
#: Brief trainings, for chapters that are run alone; see `caebook.build.reference`.
BRIEF = [run for run in RUNS if run.record.variant.split("+")[-1] == "short"]
#: Runs of which the models are kept, not only the record.
PLAN = read_plan()
RECORDS = {training.name for training in PLAN if not training.models}
PRIORS = {training.name for training in PLAN if training.prior}
WITH_MODELS = [r for r in RUNS if r.record.seed == 0 and r.name not in RECORDS]


def each(chosen: list[runs.Run]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", chosen, ids=lambda run: run.name)


#: The runs that are scored on all of their test images, one a framework.
WHOLE = ("code16-keras-mnist-s0", "code16-torch-mnist-s0")
SAMPLE = 500  # test images for each of the others


PLAN = {training.name: training for training in read_plan()}


@each([run for run in RUNS if run not in BRIEF])
def test_reference_is_the_training_of_the_plan_at_a_known_commit(run):
    record, planned = run.record, PLAN[run.name]
    assert record.profile == "full"
    assert record.recipe == planned.recipe
    assert run.comparable == ((record.variant, record.dataset) == ("source", "mnist"))
    assert record.test.images == 10_000
    assert record.provenance.git, "trained outside a checkout"
    assert "dirty" not in record.provenance.git


@each(BRIEF)
def test_brief_training_is_the_readers_at_a_known_commit(run):
    record, source = run.record, SOURCE_RECIPES[run.record.system]
    assert record.profile == "reader"
    assert record.recipe.epochs < source.epochs
    assert record.recipe.train_images <= 20_000
    trained = {"epochs": source.epochs, "train_images": source.train_images}
    assert replace(record.recipe, **trained) == source
    assert record.dataset in {"mnist", "glyph-letters"}
    assert not run.comparable
    assert record.test.images == 10_000
    assert record.provenance.git and "dirty" not in record.provenance.git


@each(RUNS)
def test_reference_is_small_and_complete(run):
    files = {path.name: path.stat().st_size for path in run.folder.iterdir()}
    models = runs.MODELS[run.record.kind] if run in WITH_MODELS else ()
    assert {f"{model}.onnx" for model in models} | {"run.json"} == {
        name for name in files if not name.startswith(("codec-", "prior"))
    }
    assert ("prior.npz" in files) == (run in WITH_MODELS and run.name in PRIORS)
    assert sum(files.values()) < 6_500_000


def test_reference_stays_small():
    files = [path for path in (root() / "reference").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60_000_000


@each(RUNS)
def test_record_is_written_again_as_it_was(run):
    """Many records are older than the code that reads them, and lack later fields."""
    text = (run.folder / "run.json").read_text()
    content = json.loads(text)
    later = dict.fromkeys(("initial_bias", "distortion_weight", "noise", "shifted"))
    later |= {"logits": False}
    expected = {**content, "recipe": {**later, **content["recipe"]}}
    assert json.loads(run.record.to_json()) == expected
    if later.keys() <= content["recipe"].keys():
        assert run.record.to_json() == text


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


@each([run for run in WITH_MODELS if run.name not in WHOLE])
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
        scores = {"bce": metrics.bce(images, np.clip(floats, 0, 1))}
        for name in ("mse", "ssim", "uqi", "uqi_sewar"):
            scores[name] = getattr(metrics, name)(images, reconstructions)
    for name, values in scores.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        recorded = getattr(run.record.test, name)
        assert np.mean(values) == pytest.approx(recorded, abs=5 * error), name
