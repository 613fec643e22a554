"""The benchmarks: each runs and writes its results, and the book shows them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caebook import networks
from caebook.build.benchmarks_page import benchmarks_page
from caebook.training import FAST_RECIPE

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "benchmarks"


def run(name: str, folder: Path, *arguments: str) -> dict:
    """Run a benchmark quickly; return what it wrote."""
    command = [sys.executable, SCRIPTS / f"{name}.py", "--quick", "--output", folder]
    environment = {**os.environ, "CAEBOOK_ROOT": str(folder)}
    result = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def numbers(result: dict) -> list[float]:
    """All numbers in the tables of a result."""
    rows = [row for table in result["tables"].values() for row in table]
    cells = [cell for row in rows for cell in row.values()]
    return [cell for cell in cells if isinstance(cell, int | float)]


@pytest.mark.parametrize("name", ["metrics", "codec", "training"])
def test_benchmark_writes_positive_figures_with_the_machine(name, tmp_path):
    result = run(name, tmp_path)
    assert result["machine"]["processor"] and result["machine"]["versions"]["numpy"]
    assert len(numbers(result)) >= 5
    assert all(np.isfinite(figure) for figure in numbers(result))
    assert result["title"] in benchmarks_page(tmp_path)


def test_memory_is_that_of_the_largest_execution(tmp_path):
    done = tmp_path / "build" / "smoke" / "done"
    done.mkdir(parents=True)
    for name, peak in (("03_a", 900), ("grid@n1", 700), ("grid@n2", 1_700)):
        (done / f"{name}.json").write_text(json.dumps({"peak_memory_mb": peak}))
    result = run("book", tmp_path)
    (rows,) = result["tables"].values()
    assert rows == [{"chapter": "grid", "MB": 1_700}, {"chapter": "03_a", "MB": 900}]


def test_time_to_quality_resumes_and_compares(tmp_path):
    name = "time_to_quality"
    first = run(name, tmp_path, "source", "ours, torch, 3")
    result = run(name, tmp_path, "source", "ours, torch, 3")
    assert result["rows"] == first["rows"]  # nothing is repeated
    (compared, *_) = result["tables"].values()
    source, ours = compared
    assert source["times as soon"] == 1
    assert (ours["epochs"] is None) == (
        ours["BCE at its end"] > source["BCE at its end"]
    )


# ---- the trainings of time_to_quality ---------------------------------------------


@pytest.fixture
def code16(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import code16

    return code16


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_faster_form_is_the_same_network(framework, code16):
    images = np.random.default_rng(0).random((3, 28, 28), dtype=np.float32)
    model = networks.build("code16", framework)
    import faster_forms

    if framework == "torch":
        import torch

        batch = torch.from_numpy(images[:, None])
        with torch.no_grad():
            expected = model(batch)
            found = torch.sigmoid(faster_forms.torch_form(model)(batch))
    else:
        from keras import ops

        batch = images[..., None]
        expected = model(batch)
        found = ops.sigmoid(faster_forms.keras_form(model)(batch))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_our_loop_trains_as_the_package_does(framework, code16):
    """The benchmark has a loop of its own, for changes that a recipe cannot name."""
    import importlib

    images = np.random.default_rng(0).integers(0, 256, (128, 28, 28), np.uint8)
    recipe = replace(FAST_RECIPE, train_images=128, epochs=2)
    package = importlib.import_module(f"caebook.training.{framework}")
    model = networks.build("code16", framework)
    expected = package.fit(model, images, recipe, validation=images[:50]).val_loss
    for form in ("written", "faster"):
        training = code16.Training(framework, recipe, form=form)
        found = [e.bce for e in code16.epochs_of(training, images, images[:50])]
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=form)


def test_soap_is_the_same_in_both_frameworks(code16):
    import keras
    import soap
    import torch

    generator = np.random.default_rng(0)
    # 9 × 9: else the first covariance is singular, and its eigenvectors are arbitrary
    start = generator.normal(size=(3, 3, 1, 9)).astype(np.float32)
    kernel, bias = keras.Variable(start), keras.Variable(np.zeros(9, np.float32))
    to_torch = (3, 2, 0, 1)  # filters first
    weight = torch.nn.Parameter(torch.from_numpy(start.transpose(to_torch).copy()))
    offset = torch.nn.Parameter(torch.zeros(9))
    ours, theirs = soap.torch_soap([weight, offset]), soap.keras_soap()
    for _ in range(soap.EVERY + 5):
        # unlike sizes, so that the order of the eigenvectors is clear
        gradient = generator.normal(size=start.shape) * 2.0 ** np.arange(9)
        gradient *= np.arange(1, 10).reshape(3, 3, 1, 1)
        gradient = gradient.astype(np.float32)
        of_bias = generator.normal(size=9).astype(np.float32)
        weight.grad = torch.from_numpy(gradient.transpose(to_torch).copy())
        offset.grad = torch.from_numpy(of_bias)
        ours.step()
        theirs.apply([gradient, of_bias], [kernel, bias])
    moved = np.abs(kernel.numpy() - start).mean()
    assert moved > 2e-3
    found = kernel.numpy().transpose(to_torch)
    np.testing.assert_allclose(found, weight.detach(), rtol=0, atol=moved / 100)
    np.testing.assert_allclose(bias.numpy(), offset.detach(), rtol=0, atol=1e-5)


# ---- the page ---------------------------------------------------------------------


def test_page_shows_the_recorded_results_with_their_machine():
    folder = SCRIPTS / "results"
    page = benchmarks_page(folder)
    for path in folder.glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert f"## {result['title']}" in page
        assert result["machine"]["processor"] in page
        for rows in result["tables"].values():
            for row in rows:
                assert set(row) <= set(rows[0])  # the columns of the table
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_page_without_results_says_so(tmp_path):
    assert "No results are recorded." in benchmarks_page(tmp_path)
