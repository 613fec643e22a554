"""Runs: trained networks as ONNX files, with the record of how they came to be.

A run is a folder ``<system>[+variant]-<framework>-<dataset>-s<seed>`` that holds
``encoder.onnx`` and ``decoder.onnx`` (or ``classifier.onnx``) and ``run.json``. Reading
and using a run needs ONNX Runtime only, neither TensorFlow nor PyTorch.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime

from caebook import metrics
from caebook.data import Dataset
from caebook.profiles import Settings, root
from caebook.training import BOUNDARY, Exported, History, Recipe, check_images, to_float

SCHEMA = 1
BATCH = 500  # bounds the memory: 500 codes of `shallow` are 25 MB
TOLERANCE = 1e-5
FIELDS = {
    "schema", "kind", "system", "variant", "framework", "dataset", "seed", "profile",
    "recipe", "parameters", "code", "history", "images_per_second", "test",
    "provenance",
}  # fmt: skip
_RUN_ID = re.compile(
    r"(?P<system>[a-z0-9-]+)(?:\+(?P<variant>[a-z0-9+-]+))?"
    r"-(?P<framework>keras|torch)-(?P<dataset>[a-z0-9-]+)-s(?P<seed>\d+)"
)
_PACKAGES = (
    "caebook", "keras", "numpy", "onnx", "onnxruntime", "scikit-image", "sewar",
    "tensorflow", "tensorflow-cpu", "torch",
)  # fmt: skip


class RunError(Exception):
    """A run cannot be saved, found or read; the message says which and why."""


def run_id(
    system: str, framework: str, dataset: str, variant: str = "source", seed: int = 0
) -> str:
    """Folder name of a run, e.g. ``shallow+short-keras-mnist-s0``.

    Raises
    ------
    RunError
        If the parts do not make a name that can be taken apart again.
    """
    suffix = "" if variant == "source" else f"+{variant}"
    name = f"{system}{suffix}-{framework}-{dataset}-s{seed}"
    match = _RUN_ID.fullmatch(name)
    if match is None or match["system"] != system or match["framework"] != framework:
        raise RunError(
            f"{name!r} is not a run's name: system, variant and data set are "
            "lower-case words, the framework is 'keras' or 'torch', the seed a whole number"
        )
    return name


@dataclass(frozen=True)
class Run:
    """A recorded run. Images go in as uint8 (N, 28, 28); work is done in batches."""

    folder: Path
    record: dict

    @property
    def name(self) -> str:
        return self.folder.name

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → code, float32 (N, h, w, c), channels last."""
        check_images(images)
        return self._apply("encoder", images)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Code, float32 (N, h, w, c) → images, float32 (N, 28, 28)."""
        expected = tuple(self.record["code"]["shape"])
        if code.dtype != np.float32 or code.shape[1:] != expected:
            raise TypeError(
                f"{self.name} decodes float32 of shape (N, {str(expected)[1:]}, not "
                f"{code.dtype} of shape {code.shape}"
            )
        return self._apply("decoder", code)

    def decoded(self, images: np.ndarray) -> np.ndarray:
        """The decoder's own float32 output for `images`, (N, 28, 28).

        Encodes and decodes batch by batch, so that no more than a batch of codes is
        ever in memory.
        """
        check_images(images)
        output = np.empty(images.shape, np.float32)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            output[part] = self.decode(self.encode(images[part]))
        return output

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → what the decoder would hand out, uint8 (N, 28, 28)."""
        return metrics.to_uint8(self.decoded(images))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → probabilities, float32 (N, classes)."""
        check_images(images)
        return self._apply("classifier", images)

    def _apply(self, model: str, values: np.ndarray) -> np.ndarray:
        session = self._session(model)
        source, target = BOUNDARY[model]
        outputs = []
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            if source == "images":
                batch = to_float(batch)
            outputs.append(session.run([target], {source: batch})[0])
        return np.concatenate(outputs)

    @cached_property
    def _sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        return {}

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        if model not in self._sessions:
            path = self.folder / f"{model}.onnx"
            if not path.is_file():
                raise RunError(
                    f"{self.name} is of kind {self.record['kind']!r}: no {path}"
                )
            self._sessions[model] = _open(path.read_bytes(), str(path))
        return self._sessions[model]


def _open(model: bytes, what: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise RunError(
            f"{what} is not an ONNX model that can be run: {error}"
        ) from error


def save(
    exported: Exported,
    *,
    system: str,
    dataset: Dataset,
    recipe: Recipe,
    history: History,
    settings: Settings,
    variant: str | None = None,
) -> Run:
    """Check, score and record a trained network, replacing an earlier run of it.

    Parameters
    ----------
    exported : from `caebook.training.keras` or `.torch`
    system : e.g. ``"shallow"``
    dataset : scored on the first ``settings.test_images`` of its test set
    variant : default ``settings.variant``

    Returns
    -------
    Run
        As read back from disk.

    Raises
    ------
    RunError
        If ONNX Runtime differs from the framework by more than 1e-5, or a weight or a
        score is not finite, or the run cannot be written. Nothing is left behind.
    """
    variant = variant or settings.variant
    name = run_id(system, exported.framework, dataset.name, variant, settings.seed)
    kind = "classifier" if "classifier" in exported.models else "autoencoder"
    _check_agreement(exported, name)
    settings.runs_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=settings.runs_dir, prefix=".saving-"))
    try:
        for model, content in exported.models.items():
            (staging / f"{model}.onnx").write_bytes(content)
        record = {
            "schema": SCHEMA,
            "kind": kind,
            "system": system,
            "variant": variant,
            "framework": exported.framework,
            "dataset": dataset.name,
            "seed": settings.seed,
            "profile": settings.profile,
            "recipe": asdict(recipe),
            "parameters": exported.parameters,
            "code": _describe_code(exported),
            "history": asdict(history),
            "images_per_second": _speed(recipe, history),
            "test": None,
            "provenance": _provenance(dataset),
        }
        record["test"] = _score(Run(staging, record), dataset, settings.test_images)
        text = json.dumps(record, indent=1, allow_nan=False)
        (staging / "run.json").write_text(text + "\n", encoding="utf-8")
        staging.chmod(0o755)
        _replace(staging, settings.runs_dir / name)
    except ValueError as error:
        raise RunError(f"{name}: {error}; the run was not saved") from error
    except OSError as error:
        raise RunError(
            f"{name} cannot be written under {settings.runs_dir}: {error}; free some "
            "space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _trace("writes", name)
    return read(settings.runs_dir / name)


def _check_agreement(exported: Exported, name: str) -> None:
    for model, content in exported.models.items():
        source, target = BOUNDARY[model]
        values = exported.outputs["encoder"] if source == "code" else exported.probe
        if source == "images":
            values = to_float(values)
        ours = _open(content, f"{name}/{model}").run([target], {source: values})[0]
        theirs = exported.outputs[model]
        if ours.shape != theirs.shape:
            raise RunError(
                f"{name}: ONNX Runtime gives {ours.shape} for the {model}, "
                f"{exported.framework} {theirs.shape}"
            )
        # Relative for codes far above 1, absolute below: both mean about five digits.
        gap = np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))
        if not gap <= TOLERANCE:  # also catches NaN
            raise RunError(
                f"{name}: ONNX Runtime and {exported.framework} differ by {gap:.1e} in "
                f"the {model}; at most {TOLERANCE:.0e} is allowed"
            )


def _describe_code(exported: Exported) -> dict | None:
    if "encoder" not in exported.outputs:
        return None
    shape = list(exported.outputs["encoder"].shape[1:])
    return {"shape": shape, "count": int(np.prod(shape))}


def _speed(recipe: Recipe, history: History) -> float | None:
    if not history.seconds:
        return None
    return recipe.train_images * len(history.seconds) / sum(history.seconds)


def _score(run: Run, dataset: Dataset, count: int) -> dict:
    images, labels = dataset.test_images[:count], dataset.test_labels[:count]
    if run.record["kind"] == "autoencoder":
        return {**metrics.score(images, run.decoded(images)), "accuracy": None}
    probabilities = run.classify(images)
    unused = dict.fromkeys(("bce", "mse", "psnr", "ssim", "uqi", "uqi_sewar"))
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    return {"images": len(images), **unused, "accuracy": accuracy}


def _provenance(dataset: Dataset) -> dict:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "git": git_version(),
        "versions": versions,
        "dataset_sha256": dataset.sha256,
        "machine": f"{platform.system()} {platform.machine()}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_version() -> str | None:
    """Commit of the checkout, with ``-dirty`` if it was changed; None outside one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(
            command, cwd=root(), capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _replace(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; what was there moves aside first, then goes."""
    aside = staging.with_name(staging.name.replace(".saving-", ".replaced-"))
    if target.exists():
        os.replace(target, aside)
    os.replace(staging, target)
    shutil.rmtree(aside, ignore_errors=True)


def read(folder: Path) -> Run:
    """Read a run from its folder.

    Raises
    ------
    RunError
        If ``run.json`` is missing, damaged, or of another schema.
    """
    path = Path(folder) / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RunError(f"{path} is not a run of schema {SCHEMA}")
    if missing := FIELDS - record.keys():
        raise RunError(f"{path} lacks {', '.join(sorted(missing))}")
    return Run(Path(folder), record)


def load(
    system: str,
    framework: str,
    dataset: str,
    variant: str = "source",
    seed: int = 0,
    *,
    settings: Settings,
) -> Run:
    """The best recorded run there is, and a line that says which.

    Under ``reader``, ``reference/`` comes before this build; under ``full``, this build
    before ``reference/``; under ``smoke``, this build alone counts. Where no ``source``
    run exists yet, ``short`` stands in.

    Raises
    ------
    RunError
        If there is none; the message says which chapter to run.
    """
    reference = root() / "reference"
    folders = {
        "reader": [reference, settings.runs_dir],
        "full": [settings.runs_dir, reference],
        "smoke": [settings.runs_dir],
    }[settings.profile]
    variants = [variant, "short"] if variant == "source" else [variant]
    for wanted in variants:
        name = run_id(system, framework, dataset, wanted, seed)
        for folder in folders:
            if (folder / name / "run.json").is_file():
                run = read(folder / name)
                where = "reference" if folder == reference else "this build"
                print(f"using {name} ({where})")
                if folder != reference:
                    _trace("reads", name)
                return run
    raise RunError(
        f"there is no run of {system} ({framework}, {dataset}, seed {seed}); looked in "
        f"{', '.join(map(str, folders))}. Run the chapter that trains it first, or "
        "'make book'."
    )


def list_runs(folder: Path) -> list[Run]:
    """All readable runs in `folder`, by name."""
    return [
        read(path.parent)
        for path in sorted(Path(folder).glob("*/run.json"))
        if not path.parent.name.startswith(".")
    ]


def _trace(what: str, name: str) -> None:
    """Tell the build which runs a chapter really touched; it checks the declaration."""
    if path := os.environ.get("CAEBOOK_TRACE"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{what} {name}\n")
