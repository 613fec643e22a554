"""The runs under ``reference/``: what they claim to be, and what they score."""

import json
import os

import pytest

from caebook import data, runs
from caebook.files import root

RUNS = runs.list_runs(root() / "reference")
by_name = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)


def test_there_are_reference_runs():
    assert RUNS


@by_name
def test_reference_is_the_sources_recipe_at_a_known_commit(run):
    record = run.record
    assert record["profile"] == "full" and record["variant"] == "source"
    assert run.comparable, "trained or tested otherwise than its source"
    assert record["test"]["images"] == 10_000
    assert record["provenance"]["git"], "trained outside a checkout"
    assert "dirty" not in record["provenance"]["git"]


@by_name
def test_reference_is_small_and_complete(run):
    files = {path.name: path.stat().st_size for path in run.folder.iterdir()}
    models = runs.MODELS[run.record["kind"]]
    assert {f"{model}.onnx" for model in models} | {"run.json"} == {
        name for name in files if not name.startswith("codec-")
    }
    assert sum(files.values()) < 5_000_000
    text = (run.folder / "run.json").read_text()
    assert json.loads(text) == run.record and text.endswith("}\n")


@by_name
def test_reference_scores_what_its_record_says(run):
    folder = os.environ.get("CAEBOOK_DATA")
    if not folder:
        pytest.skip("set CAEBOOK_DATA to score the reference runs on the real MNIST")
    dataset = data.load(run.record["dataset"])
    assert run.record["provenance"]["dataset_sha256"] == dataset.sha256
    recorded = run.record["test"]
    again = runs._score(run, dataset, recorded["images"])
    scores = [name for name, value in recorded.items() if value is not None]
    assert all(again[name] is None for name in recorded.keys() - scores)
    # another processor sums in another order; a rounded pixel may differ
    for name in scores:
        assert again[name] == pytest.approx(recorded[name], rel=1e-4), name
