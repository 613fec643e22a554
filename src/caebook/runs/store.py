"""Runs: trained networks as ONNX files, with the record of how they came to be.

A run is a folder ``<system>[+variant]-<framework>-<dataset>-s<seed>`` that holds
``encoder.onnx`` and ``decoder.onnx`` (or ``classifier.onnx``) and ``run.json``. Reading
and using a run needs ONNX Runtime only, neither TensorFlow nor PyTorch.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime

from caebook.data import Dataset
from caebook.errors import RunError
from caebook.evaluation import metrics
from caebook.files import root
from caebook.images import check_images, slices, to_float, to_uint8
from caebook.provenance import git_version
from caebook.settings import Settings
from caebook.training.boundary import BOUNDARY, Exported
from caebook.training.history import History
from caebook.training.recipes import SOURCE_RECIPES, Recipe

SCHEMA = 1
BATCH = 50  # as fast as 500, with a tenth of the working memory
TOLERANCE = 1e-5
ROUNDING = 2e-6  # of the largest code: some thirty times float32's own
MODELS = {"autoencoder": ("encoder", "decoder"), "classifier": ("classifier",)}

# What ``run.json`` holds: for each field a type, [type of the items], its own fields,
# or (one of these, None) where null is allowed. A float is finite; 1 will do for 1.0.
_SCHEMA = {
    "schema": int,
    "kind": str,
    "system": str,
    "variant": str,
    "framework": str,
    "dataset": str,
    "seed": int,
    "profile": str,
    "recipe": {
        "optimizer": str,
        "learning_rate": float,
        "schedule": str,
        "loss": str,
        "epochs": int,
        "batch_size": int,
        "train_images": int,
        "precision": str,
    },
    "parameters": {"total": int, "encoder": (int, None), "decoder": (int, None)},
    "code": ({"shape": [int], "count": int}, None),
    "history": {"loss": [float], "val_loss": [float], "seconds": [float]},
    "images_per_second": (float, None),
    "test": {
        "images": int,
        "bce": (float, None),
        "mse": (float, None),
        "psnr": (float, None),
        "ssim": (float, None),
        "uqi": (float, None),
        "uqi_sewar": (float, None),
        "accuracy": (float, None),
    },
    "provenance": {
        "git": (str, None),
        "versions": dict,
        "dataset_sha256": str,
        "machine": str,
        "created": str,
    },
}
FIELDS = frozenset(_SCHEMA)

_WORDS = "[a-z0-9]+(?:-[a-z0-9]+)*"
_RUN_ID = re.compile(
    rf"(?P<system>{_WORDS})(?:\+(?P<variant>{_WORDS}(?:\+{_WORDS})*))?"
    rf"-(?P<framework>keras|torch)-(?P<dataset>{_WORDS})-s(?P<seed>0|[1-9][0-9]*)"
)
_PACKAGES = (
    "caebook", "keras", "numpy", "onnx", "onnxruntime", "scikit-image", "sewar",
    "tensorflow", "tensorflow-cpu", "torch",
)  # fmt: skip


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
    if parse_id(name) != (system, framework, dataset, variant, seed):
        raise RunError(f"{name!r} cannot be told apart from another run's name")
    return name


def parse_id(name: str) -> tuple[str, str, str, str, int]:
    """System, framework, data set, variant and seed of a run: undoes `run_id`.

    Raises
    ------
    RunError
        If it is not a run's name.
    """
    if (match := _RUN_ID.fullmatch(name)) is None:
        raise RunError(
            f"{name!r} is not a run's name: system, variant and data set are "
            "lower-case words, the framework is 'keras' or 'torch', the seed a whole "
            "number"
        )
    system, variant, framework, dataset, seed = match.groups()
    return system, framework, dataset, variant or "source", int(seed)


@dataclass(frozen=True)
class Run:
    """A recorded run. Images go in as uint8 (N, 28, 28); work is done in batches."""

    folder: Path
    record: dict = field(hash=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def trained(self) -> str:
        """How long it was trained, and whether here: what a claim is weighed by."""
        recipe = self.record["recipe"]
        epochs = f"{recipe['epochs']} epoch{'s' * (recipe['epochs'] != 1)}"
        images = f"{recipe['train_images']:,} images"
        return f"{epochs} of {images}, {_origin(self.folder.parent)}"

    @property
    def comparable(self) -> bool:
        """Whether it was trained and tested as its source was: recipe and MNIST."""
        recipe = SOURCE_RECIPES.get(self.record["system"])
        return (
            recipe is not None
            and self.record["recipe"] == asdict(recipe)
            and self.record["dataset"] == "mnist"
        )

    def row(self) -> dict[str, object]:
        """What a table says about the run: its network, its code and its test scores.

        An autoencoder's scores are on the scales of
        `caebook.evaluation.metrics.score`; of a classifier there is the accuracy, 0 to
        1.
        """
        record, test = self.record, self.record["test"]
        variant = "" if record["variant"] == "source" else f"+{record['variant']}"
        about = {
            "system": record["system"] + variant,
            "framework": record["framework"],
            "parameters": record["parameters"]["total"],
        }
        if record["kind"] == "classifier":
            return {**about, "accuracy": test["accuracy"]}
        return {
            **about,
            "code": record["code"]["count"],
            "BCE": test["bce"],
            "MSE": test["mse"],
            "PSNR, dB": test["psnr"],
            "SSIM": test["ssim"],
            "UQI": test["uqi"],
            "UQI (sewar)": test["uqi_sewar"],
        }

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → code, float32 (N, h, w, c), channels last."""
        check_images(images)
        return self._apply("encoder", images)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Code, float32 (N, h, w, c) → images, float32 (N, 28, 28)."""
        self._session("decoder")
        shape = tuple(self.record["code"]["shape"])
        given = getattr(code, "shape", None)
        if given is None or code.dtype != np.float32 or given[1:] != shape:
            what = type(code).__name__ if given is None else f"{code.dtype} {given}"
            raise TypeError(
                f"{self.name} decodes float32 of shape (N, {', '.join(map(str, shape))}"
                f"), not {what}"
            )
        if len(code) == 0:
            raise ValueError(f"{self.name}: there is no code to decode")
        return self._apply("decoder", code)

    def decoded(self, images: np.ndarray) -> np.ndarray:
        """The decoder's own float32 output for `images`, (N, 28, 28).

        Encodes and decodes batch by batch, so that no more than a batch of codes is
        ever in memory.
        """
        check_images(images)
        output = np.empty(images.shape, np.float32)
        for part in slices(len(images), BATCH):
            output[part] = self.decode(self.encode(images[part]))
        return output

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → what the decoder would hand out, uint8 (N, 28, 28)."""
        return to_uint8(self.decoded(images))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → probabilities, float32 (N, classes)."""
        check_images(images)
        return self._apply("classifier", images)

    def _apply(self, model: str, values: np.ndarray) -> np.ndarray:
        session = self._session(model)
        what = f"{self.folder / model}.onnx"
        parts = slices(len(values), BATCH)
        return np.concatenate(
            [_infer(session, model, values[part], what) for part in parts]
        )

    @cached_property
    def _sessions(self) -> dict[str, onnxruntime.InferenceSession]:
        return {}

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        if model not in MODELS[self.record["kind"]]:
            raise RunError(
                f"{self.name} is of kind {self.record['kind']!r}: it has no {model}"
            )
        if model not in self._sessions:
            path = self.folder / f"{model}.onnx"
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RunError(f"{path} cannot be read: {error}") from error
            self._sessions[model] = _open(content, str(path))
        return self._sessions[model]


def _open(model: bytes, what: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # ORT does not look at this variable by itself; 0 means as many as there are cores.
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ORT's own exceptions share no narrower base
        raise RunError(f"{what} is no ONNX model that can be run: {error}") from error


def _infer(
    session: onnxruntime.InferenceSession, model: str, values: np.ndarray, what: str
) -> np.ndarray:
    """One batch through one model; uint8 images are scaled to [0, 1] here."""
    source, target = BOUNDARY[model]
    if values.dtype == np.uint8:
        values = to_float(values)
    try:
        return session.run([target], {source: values})[0]
    except Exception as error:
        raise RunError(
            f"{what} does not turn {source} {values.shape} into {target}: {error}"
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
        score is not finite, or recipe and history do not go together, or the run cannot
        be written. Nothing is left behind, and an earlier run stays as it was.
    """
    variant = variant or settings.variant
    name = run_id(system, exported.framework, dataset.name, variant, settings.seed)
    kind = "classifier" if "classifier" in exported.models else "autoencoder"
    if len(history.loss) != recipe.epochs:
        raise RunError(
            f"{name}: the recipe says {recipe.epochs} epochs, but the history has "
            f"{len(history.loss)}; save a network with the recipe it was trained by"
        )
    _check_models(exported, name)
    staging = None
    try:
        settings.runs_dir.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=settings.runs_dir, prefix=".saving-"))
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
        check_record(record)
        text = json.dumps(record, indent=1, allow_nan=False)
        (staging / "run.json").write_text(text + "\n", encoding="utf-8")
        staging.chmod(0o755)
        _replace(staging, settings.runs_dir / name)
    except (TypeError, ValueError) as error:
        raise RunError(f"{name}: {error}; the run was not saved") from error
    except OSError as error:
        raise RunError(
            f"{name} cannot be written under {settings.runs_dir}: {error}; free some "
            "space or choose another folder"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return read(settings.runs_dir / name)


def _check_models(exported: Exported, name: str) -> None:
    """Finite weights, and ONNX Runtime's answer to the probe is the framework's."""
    from caebook.training.onnx import broken_weights  # only saving needs `onnx`

    for model, content in exported.models.items():
        what = f"{name}/{model}.onnx"
        session = _open(content, what)
        if broken := broken_weights(content):
            raise RunError(
                f"{name}: weights of the {model} are not finite ({', '.join(broken)}); "
                "the training went wrong"
            )
        probe = exported.probe
        values = exported.outputs["encoder"] if model == "decoder" else probe
        ours = _infer(session, model, values, what)
        theirs = exported.outputs[model]
        if ours.shape != theirs.shape:
            raise RunError(
                f"{name}: ONNX Runtime gives {ours.shape} for the {model}, "
                f"{exported.framework} {theirs.shape}"
            )
        # Relative for codes far above 1, absolute below: both mean about five digits.
        # Where thousands of terms cancel to a small code among large ones, float32 does
        # not have these digits; there, what matters is the image's largest number.
        rest = tuple(range(1, theirs.ndim))
        with np.errstate(invalid="ignore"):
            size = np.abs(theirs)
            rounding = ROUNDING * size.max(axis=rest, keepdims=True)
            scale = np.maximum(np.maximum(1, size), rounding / TOLERANCE)
            gap = np.max(np.abs(ours - theirs) / scale)
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
    """Training images per second of the median epoch.

    The first epoch, and the first after resuming, include the framework's warm-up.
    """
    seconds = float(np.median(history.seconds)) if history.seconds else 0.0
    return recipe.train_images / seconds if seconds > 0 else None


def _score(run: Run, dataset: Dataset, count: int) -> dict:
    images, labels = dataset.test_images[:count], dataset.test_labels[:count]
    if run.record["kind"] == "autoencoder":
        scores = metrics.score(images, run.decoded(images))
        if math.isinf(scores["psnr"]):  # not one pixel is wrong; JSON has no infinity
            scores["psnr"] = None
        return {**scores, "accuracy": None}
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


def _replace(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; what was there moves aside first, then goes."""
    aside = staging.with_name(staging.name.replace(".saving-", ".replaced-"))
    replacing = target.exists()
    if replacing:
        os.replace(target, aside)
    try:
        os.replace(staging, target)
    except BaseException:
        if replacing:
            os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def check_record(record: object) -> None:
    """Raise ValueError, naming the field, unless `record` is that of a run.

    Checks that fields are there, their types, that numbers are finite, and what other
    code relies on: kind, code and scores go together, the history's lists are equally
    long. Fields that are not known are let through.
    """
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"it is not a run of schema {SCHEMA}")
    _check_type(record, _SCHEMA, "record")
    kind, code, test = record["kind"], record["code"], record["test"]
    if kind not in MODELS:
        raise ValueError(f"record.kind {kind!r} is not known")
    if (code is None) != (kind == "classifier"):
        raise ValueError("an autoencoder has a record.code, a classifier has none")
    if code and (len(code["shape"]) != 3 or math.prod(code["shape"]) != code["count"]):
        raise ValueError("record.code.shape must be [h, w, c], and count their product")
    # the PSNR is null where not one pixel is wrong
    autoencoder = ["bce", "mse", "ssim", "uqi", "uqi_sewar"]
    scores = ["accuracy"] if kind == "classifier" else autoencoder
    if missing := [name for name in scores if test[name] is None]:
        raise ValueError(f"record.test lacks {', '.join(missing)}")
    if len({len(values) for values in record["history"].values()}) != 1:
        raise ValueError("the lists in record.history differ in length")


def _check_type(value: object, expected: object, where: str) -> None:
    """Check a value against its part of `_SCHEMA`; `where` names it in an error."""
    if isinstance(expected, tuple):
        if value is not None:
            _check_type(value, expected[0], where)
    elif isinstance(expected, dict):
        _check_type(value, dict, where)
        for name, inner in expected.items():
            if name not in value:
                raise ValueError(f"{where} lacks {name}")
            _check_type(value[name], inner, f"{where}.{name}")
    elif isinstance(expected, list):
        _check_type(value, list, where)
        for item in value:
            _check_type(item, expected[0], where)
    elif expected is float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{where} must be a finite number, not {value!r}")
    elif type(value) is not expected:
        raise ValueError(f"{where} must be {expected.__name__}, not {value!r}")


def read(folder: Path) -> Run:
    """Read a run from its folder.

    Raises
    ------
    RunError
        If ``run.json`` is missing, damaged, of another schema, or of another run.
    """
    path = Path(folder) / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        check_record(record)
    except (OSError, ValueError, RecursionError, OverflowError) as error:
        raise RunError(f"{path} cannot be used: {error}") from error
    parts = ("system", "framework", "dataset", "variant", "seed")
    name = run_id(*(record[part] for part in parts))
    if name != Path(folder).name:
        raise RunError(f"{path} is the record of {name}")
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
    before ``reference/``; under ``smoke``, this build alone counts. Where no run of the
    variant exists yet, its brief training stands in: ``short`` for ``source``,
    ``nearest+short`` for ``nearest``.

    Raises
    ------
    RunError
        If there is none; the message says which chapter to run.
    """
    folders = _folders(settings)
    variants = [variant]
    if variant.split("+")[-1] != "short":
        variants.append("short" if variant == "source" else f"{variant}+short")
    for wanted in variants:
        name = run_id(system, framework, dataset, wanted, seed)
        for folder in folders:
            if (folder / name / "run.json").is_file():
                run = read(folder / name)
                where = _origin(folder)
                note = "" if wanted == variant else ", for want of a fully trained one"
                print(f"using {name} ({where}){note}")
                return run
    chapter = _chapter_that_writes(system, framework, variant)
    raise RunError(
        f"there is no run of {system} ({framework}, {dataset}, {variant}, seed {seed}) "
        f"in {' or '.join(map(str, folders))}. Run {chapter} first, or 'make book'."
    )


def find(system: str, dataset: str, *, settings: Settings) -> list[Run]:
    """All runs of an experiment, by name, from the first place that has any.

    Parameters
    ----------
    system : the experiment's, e.g. ``"ladder"``; its points are variants and seeds

    Raises
    ------
    RunError
        If there is none.
    """
    for folder in _folders(settings):
        paths = sorted(folder.glob(f"{system}+*/run.json"))
        found = [read(path.parent) for path in paths]
        found = [
            run
            for run in found
            if run.record["dataset"] == dataset and run.record["variant"] != "short"
        ]
        if found:
            print(f"using {len(found)} runs of {system} ({_origin(folder)})")
            return found
    raise RunError(
        f"there is no run of {system} on {dataset} in "
        f"{' or '.join(map(str, _folders(settings)))}. Run 'make book' first: it "
        "executes the experiment."
    )


def _folders(settings: Settings) -> list[Path]:
    """Where runs are looked for, the best first."""
    reference = root() / "reference"
    return {
        "reader": [reference, settings.runs_dir],
        "full": [settings.runs_dir, reference],
        "smoke": [settings.runs_dir],
    }[settings.profile]


def _origin(folder: Path) -> str:
    return "reference" if folder.name == "reference" else "this build"


def _chapter_that_writes(system: str, framework: str, variant: str) -> str:
    """The notebook that declares to write such a run, for an error message."""
    change = "" if variant in ("source", "short") else f"+{variant}"
    suffix = change.removesuffix("+short")
    for path in sorted((root() / "notebooks").glob("*.ipynb")):
        try:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for template in notebook["metadata"]["caebook"]["writes"]:
                name = template.replace("{short}", "")
                if name.startswith(f"{system}{suffix}-{framework}-"):
                    return f"notebooks/{path.name}"
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # a chapter that cannot be read is for the build to report
    return "the chapter that trains it"


def list_runs(folder: Path) -> list[Run]:
    """All runs in `folder`, by name; RunError if one of them is damaged."""
    return [
        read(path.parent)
        for path in sorted(Path(folder).glob("*/run.json"))
        if not path.parent.name.startswith(".")
    ]
