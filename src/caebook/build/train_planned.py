"""Trains one run of the plan: ``python -m caebook.build.train_planned NAME``.

The finished run is checked and lands in ``reference/``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import time

from caebook import data, networks, runs
from caebook.build.execute import JOB_ENVIRONMENT, say
from caebook.build.plan import Training, find_training, folder
from caebook.errors import CaebookError, PlanError
from caebook.evaluation import metrics
from caebook.files import replacing_folder, root, write_text
from caebook.settings import Settings
from caebook.train import train
from caebook.training.noise import noisy_test_images

CHECKED = 500  # test images that a finished run is scored on again


def train_planned(training: Training) -> runs.Run:
    """Train a run of the plan, check it, and keep it in ``reference/``.

    Raises
    ------
    CaebookError
        If the data set is not available, or the run cannot be saved or is not what the
        plan says.
    """
    dataset = data.load(training.dataset)
    settings = Settings(
        profile="full",
        digits=training.dataset,
        letters=None,
        seed=training.seed,
        runs_dir=folder() / "runs",
    )
    model = networks.build(
        training.system, training.framework, training.seed, **training.arguments
    )
    split = None
    if training.split == "sorted":
        split = dataset.sorted_split(training.recipe.train_images)
    run = train(
        model,
        training.system,
        settings,
        variant=training.variant,
        recipe=training.recipe,
        dataset=dataset,
        split=split,
    )
    check(run, training, dataset)
    return _land(run, training)


def check(run: runs.Run, training: Training, dataset: data.Dataset) -> None:
    """Raise PlanError unless a run is the plan's, and scores what its record says."""
    record = run.record
    if run.name != training.name or record.recipe != training.recipe:
        raise PlanError(f"{run.name} is not the training of the plan")
    part = slice(None, record.test.images, max(1, record.test.images // CHECKED))
    images, labels = dataset.test_images[part], dataset.test_labels[part]
    if record.kind == "classifier":
        recorded = record.test.accuracy
        values = run.classify(images).argmax(axis=1) == labels
    else:
        recorded, given = record.test.mse, images
        if record.noisy_test is not None:
            recorded = record.noisy_test.mse
            tested = dataset.test_images[: record.test.images]
            given = noisy_test_images(tested, record.recipe.noise)[part]
        values = metrics.mse(images, run.reconstruct(given))
    allowed = 6 * values.std(ddof=1) / len(values) ** 0.5
    if not abs(values.mean() - recorded) <= allowed:
        score = "accuracy" if record.kind == "classifier" else "MSE"
        raise PlanError(
            f"{run.name}: its record says {score} {recorded:.3g}, but its weights give "
            f"{values.mean():.3g}"
        )


def _land(run: runs.Run, training: Training) -> runs.Run:
    with replacing_folder(root() / "reference" / training.name) as new:
        for name in training.files:
            shutil.copyfile(run.folder / name, new / name)
    return runs.read(root() / "reference" / training.name)


class _Named(io.TextIOBase):
    """Standard output, with the training's name in front of each line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.line = ""

    def write(self, text: str) -> int:
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            say(self.name, line, file=sys.__stdout__)
        return len(text)


def main(arguments: list[str] | None = None) -> int:
    """Train one run of the plan in the queue's folder, with one thread."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build.train_planned")
    parser.add_argument("name", help="e.g. shallow+fast-torch-mnist-s0")
    name = parser.parse_args(arguments).name
    if any(os.environ.get(key) != JOB_ENVIRONMENT[key] for key in JOB_ENVIRONMENT):
        # These must be set before NumPy and the frameworks start.
        command = [sys.executable, "-m", "caebook.build.train_planned", name]
        os.execve(sys.executable, command, {**os.environ, **JOB_ENVIRONMENT})
    started = time.process_time()
    report = folder() / "failed" / f"{name}.txt"
    report.unlink(missing_ok=True)  # of a first attempt
    try:
        with contextlib.redirect_stdout(_Named(name)):
            run = train_planned(find_training(name))
    except (CaebookError, ValueError) as error:
        write_text(report, f"{name}: {error}\n")
        print(error, file=sys.stderr)  # for Snakemake's log
        say(name, "failed")
        return 1
    seconds = round(time.process_time() - started)
    say(name, f"done in {seconds} s of processor time, now in reference/")
    record = {"seconds": seconds, "created": run.record.provenance.created}
    write_text(folder() / "done" / f"{name}.json", json.dumps(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
