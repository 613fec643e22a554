"""The plan of reference runs and its queue, run for real on a tiny plan."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from caebook import data, networks, runs
from caebook.build import plan
from caebook.build.train_planned import check, train_planned
from caebook.errors import PlanError
from caebook.files import root
from caebook.train import halves
from caebook.training import FAST_RECIPE
from caebook.training import keras as keras_training
from caebook.training import torch as torch_training

PLAN = plan.read_plan()
REFERENCE = root() / "reference"

TINY = """
- question: "Does the queue work?"
  system: transposed
  recipe: ours
  change: {epochs: 4, train_images: 3000, batch_size: 20}
  dataset: glyph-digits
  runs: {nearest+fast: {enlarge: nearest, maps: 7}}
  seeds: {torch: [0]}
  minutes: 0.1
"""
NAME = "transposed+nearest+fast-torch-glyph-digits-s0"


# --- the plan --------------------------------------------------------------------


def test_finished_runs_are_those_of_the_plan():
    """What the plan says can be read from each run: recipe, and size of the network."""
    finished = [t for t in PLAN if (REFERENCE / t.name / "run.json").is_file()]
    assert finished
    for training in finished:
        assert runs.read(REFERENCE / training.name).record.recipe == training.recipe
    planned = {training.name for training in PLAN}
    there = {
        path.parent.name
        for path in REFERENCE.glob("*/run.json")
        if "+short" not in path.parent.name
    }
    assert there <= planned


def test_planned_networks_can_be_built_and_have_the_recorded_size():
    count = {"keras": keras_training, "torch": torch_training}
    sizes: dict[str, int] = {}
    for training in PLAN:
        key = f"{training.system} {training.framework} {training.arguments}"
        if key not in sizes:
            model = networks.build(
                training.system, training.framework, **training.arguments
            )
            # A prior between the halves is trained, but not recorded.
            parts = [model] if training.system == "classifier" else halves(model)
            sizes[key] = sum(map(count[training.framework].count_parameters, parts))
        if (REFERENCE / training.name / "run.json").is_file():
            record = runs.read(REFERENCE / training.name).record
            assert record.parameters.total == sizes[key], training.name


def test_first_seeds_come_first_and_keep_their_models():
    ladder = [t for t in PLAN if t.system == "ladder" and t.recipe.epochs == 6]
    kept = [t for t in ladder if t.models]
    assert [t.seed for t in kept] == sorted(t.seed for t in kept)
    assert kept[0].files == ["run.json", "encoder.onnx", "decoder.onnx"]
    assert kept[-1].files == ["run.json"]
    dropped = [t for t in ladder if not t.models]
    assert dropped[0].seed == 0 and dropped[0].files == ["run.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list"),
        ("- {", "cannot be read"),
        ("- {question: x}", "system"),
        (TINY + "  peak: 1", "peak"),
        (TINY.replace("recipe: ours", "recipe: theirs"), "recipe"),
        (TINY.replace("epochs: 4", "epochs: 0"), "epochs"),
        (TINY.replace("epochs: 4", "epoch: 4"), "epoch"),
        (TINY.replace("ours", "source").replace("transposed", "deepest"), "deepest"),
        (TINY + TINY, "twice"),
        (TINY.replace("nearest+fast", "Nearest fast"), "Nearest fast"),
    ],
)
def test_an_invalid_plan_is_refused(tmp_path, text, message):
    path = tmp_path / "plan.yml"
    path.write_text(text)
    with pytest.raises(PlanError, match=message) as caught:
        plan.read_plan(path)
    assert str(path) in str(caught.value)


def test_dry_run_lists_what_is_missing(capsys):
    assert plan.main(["-n"]) == 0
    printed = capsys.readouterr().out
    wanted = plan.missing(PLAN)
    assert f"{len(PLAN) - len(wanted)} of {len(PLAN)} runs" in printed
    assert all(training.name in printed for training in wanted)


def test_a_run_by_another_recipe_is_missing(tmp_path, monkeypatch):
    (tmp_path / "reference").mkdir()
    finished = next(t for t in PLAN if t not in plan.missing(PLAN))
    folder = tmp_path / "reference" / finished.name
    shutil.copytree(REFERENCE / finished.name, folder)
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    assert plan.missing([finished]) == []
    record = json.loads((folder / "run.json").read_text())
    record["recipe"]["learning_rate"] *= 2
    (folder / "run.json").write_text(json.dumps(record))
    assert plan.missing([finished]) == [finished]
    shutil.rmtree(folder)
    assert plan.missing([finished]) == [finished]


# --- the queue -------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """Makes checkouts that hold a tiny plan."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        (folder / "reference").mkdir(parents=True)
        (folder / "reference" / "plan.yml").write_text(TINY)
        for needed in ("Snakefile", "_config.yml"):
            shutil.copy(root() / needed, folder)
        (folder / ".gitignore").write_text("build/\n")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Plan"]):
            subprocess.run([*git, *command], cwd=folder, check=True)
        return folder

    return make


def queue(folder: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "CAEBOOK_ROOT": str(folder),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "caebook.build.plan", "--cores", "1"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_all_in(folder: Path) -> None:
    """Kill at once every process that works for this checkout."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CAEBOOK_ROOT={folder}\0".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_killed_queue_resumes_and_ends_with_the_same_weights(project):
    whole, killed = project("whole"), project("killed")
    process = queue(whole)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert f"{NAME} epoch 4/4" in " ".join(output.split())

    process = queue(killed)
    checkpoint = killed / "build" / "reference" / "checkpoints" / f"{NAME}.npz"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_all_in(killed)
    process.communicate(timeout=60)
    assert not (killed / "reference" / NAME).exists()
    process = queue(killed)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "resuming after epoch" in output

    folders = [folder / "reference" / NAME for folder in (whole, killed)]
    assert sorted(path.name for path in folders[1].iterdir()) == [
        "decoder.onnx", "encoder.onnx", "run.json"
    ]  # fmt: skip
    for model in ("encoder.onnx", "decoder.onnx"):
        one, two = ((folder / model).read_bytes() for folder in folders)
        assert one == two
    one, two = (runs.read(folder).record for folder in folders)
    assert one.history.loss == two.history.loss and one.test == two.test
    assert one.provenance.git and "dirty" not in one.provenance.git
    # Nothing is left to do, also where the runs are not committed yet.
    process = queue(killed)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "1 of 1 runs" in output


def test_changed_checkout_is_refused(project):
    folder = project("changed")
    (folder / "Snakefile").write_text("changed")
    process = queue(folder)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "checkout without changes" in output


def test_a_run_is_checked_before_it_lands():
    training = next(t for t in PLAN if t.name == "shallow+fast-torch-mnist-s0")
    run = runs.read(REFERENCE / training.name)
    other = next(t for t in PLAN if t.name == "deep+fast-torch-mnist-s0")
    dataset = data.load("glyph-digits")
    with pytest.raises(PlanError, match="not the training of the plan"):
        check(run, other, dataset)
    with pytest.raises(PlanError, match="but its weights give"):
        check(run, training, dataset)  # of other images than it was scored on


def test_a_denoiser_is_checked_on_noisy_images():
    if not os.environ.get("CAEBOOK_DATA"):
        pytest.skip("set CAEBOOK_DATA to score a reference run on the real MNIST")
    name = "denoiser+wide-gaussian-40+fast-torch-mnist-s0"
    training = next(t for t in PLAN if t.name == name)
    run = runs.read(REFERENCE / name)
    check(run, training, data.load("mnist"))
    confused = run.record.model_copy(update={"noisy_test": run.record.test})
    with pytest.raises(PlanError, match="but its weights give"):
        check(replace(run, record=confused), training, data.load("mnist"))


def test_cheapest_run_can_be_trained_again(tmp_path, monkeypatch):
    """From scratch, on another processor: within 10 % of the recorded error."""
    if not os.environ.get("CAEBOOK_DATA"):
        pytest.skip("set CAEBOOK_DATA to train on the real MNIST")
    finished = [t for t in PLAN if t.system != "classifier" and t.seed == 0]
    finished = [t for t in finished if t not in plan.missing(PLAN)]
    cost = {
        t.name: sum(runs.read(REFERENCE / t.name).record.history.seconds)
        for t in finished
    }
    training = min(finished, key=lambda t: cost[t.name])
    recorded = runs.read(REFERENCE / training.name).record.test
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    again = train_planned(training).record.test
    assert again.mse == pytest.approx(recorded.mse, rel=0.1)
    assert again.bce == pytest.approx(recorded.bce, rel=0.02)


def test_ours_is_one_recipe():
    """Runs that are compared differ in nothing but their network and seed."""
    for group in {training.question for training in PLAN}:
        ours = [t for t in PLAN if t.question == group and "fast" in t.variant]
        assert len({t.recipe for t in ours}) <= 1, group
        for training in ours:
            assert training.recipe.learning_rate == FAST_RECIPE.learning_rate
            assert training.recipe.train_images == FAST_RECIPE.train_images
