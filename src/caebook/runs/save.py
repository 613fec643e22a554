"""Saving a trained network as a run: checked, scored and recorded."""

from __future__ import annotations

import math

import numpy as np
from pydantic import ValidationError

from caebook.data import Dataset
from caebook.errors import RunError
from caebook.evaluation import metrics
from caebook.files import replacing_folder
from caebook.images import check_images
from caebook.provenance import git_version, machine, now, versions
from caebook.runs.inference import Network, autoencode
from caebook.runs.names import run_id
from caebook.runs.record import SCHEMA, Code, Parameters, Provenance, Record, Scores
from caebook.runs.store import Run, read
from caebook.settings import Settings
from caebook.training.boundary import Exported
from caebook.training.history import History
from caebook.training.noise import Noise, noisy_test_images
from caebook.training.recipes import Recipe
from caebook.validation import describe

#: How far ONNX Runtime and the framework may differ, as a share of the number.
TOLERANCE = 1e-5

#: As a share of an image's largest number: some thirty times float32's rounding.
ROUNDING = 2e-6

_PACKAGES = (
    "caebook", "keras", "numpy", "onnx", "onnxruntime", "scikit-image", "sewar",
    "tensorflow", "tensorflow-cpu", "torch",
)  # fmt: skip


def save(
    exported: Exported,
    *,
    system: str,
    dataset: Dataset,
    recipe: Recipe,
    history: History,
    settings: Settings,
    variant: str | None = None,
    prior: dict[str, np.ndarray] | None = None,
) -> Run:
    """Check, score and record a trained network, replacing an earlier run of it.

    Parameters
    ----------
    exported : from `caebook.training.keras` or `.torch`
    system : e.g. ``"shallow"``
    dataset : scored on the first ``settings.test_images`` of its test set
    variant : default ``settings.variant``
    prior : weights of the network that prices the code, by name, if there is one

    Returns
    -------
    Run
        As read back from disk.

    Raises
    ------
    RunError
        If ONNX Runtime differs from the framework by more than 1e-5, a weight or a
        score is not finite, or recipe and history contradict each other.
    WriteError
        If the run cannot be written. After either error an earlier run is unharmed.
    """
    variant = variant or settings.variant
    name = run_id(system, exported.framework, dataset.name, variant, settings.seed)
    if len(history.loss) != recipe.epochs:
        raise RunError(
            f"{name}: the recipe says {recipe.epochs} epochs, but the history has "
            f"{len(history.loss)}; change `recipe` itself, which `fit` and `save` share"
        )
    networks = {
        model: Network(content, model, f"{name}/{model}.onnx")
        for model, content in exported.models.items()
    }
    _check_networks(networks, exported, name)
    try:
        record = Record(
            schema=SCHEMA,
            kind="classifier" if "classifier" in networks else "autoencoder",
            system=system,
            variant=variant,
            framework=exported.framework,
            dataset=dataset.name,
            seed=settings.seed,
            profile=settings.profile,
            recipe=recipe,
            parameters=Parameters(**exported.parameters),
            code=_describe_code(exported),
            history=history,
            images_per_second=_speed(recipe, history),
            test=_score(networks, dataset, settings.test_images),
            noisy_test=(
                _score(networks, dataset, settings.test_images, recipe.noise)
                if recipe.noise
                else None
            ),
            provenance=_provenance(dataset, exported),
        )
    except ValidationError as error:
        raise RunError(f"{name}: {describe(error)}; the run was not saved") from error
    except (TypeError, ValueError) as error:
        raise RunError(f"{name}: {error}; the run was not saved") from error
    with replacing_folder(settings.runs_dir / name) as folder:
        for model, content in exported.models.items():
            (folder / f"{model}.onnx").write_bytes(content)
        if prior:
            np.savez_compressed(folder / "prior.npz", **prior)
        (folder / "run.json").write_text(record.to_json(), encoding="utf-8")
    return read(settings.runs_dir / name)


def _check_networks(
    networks: dict[str, Network], exported: Exported, name: str
) -> None:
    """Raise RunError unless weights are finite and outputs are the framework's."""
    from caebook.training.onnx import broken_weights  # only saving needs `onnx`

    for model, network in networks.items():
        if broken := broken_weights(exported.models[model]):
            raise RunError(
                f"{name}: weights of the {model} are not finite ({', '.join(broken)}); "
                "the training went wrong"
            )
        probe = exported.probe
        ours = network(exported.outputs["encoder"] if model == "decoder" else probe)
        theirs = exported.outputs[model]
        if ours.shape != theirs.shape:
            raise RunError(
                f"{name}: ONNX Runtime gives {ours.shape} for the {model}, "
                f"{exported.framework} {theirs.shape}"
            )
        gap = _gap(ours, theirs)
        if not gap <= TOLERANCE:  # also catches NaN
            raise RunError(
                f"{name}: ONNX Runtime and {exported.framework} differ by {gap:.1e} in "
                f"the {model}; at most {TOLERANCE:.0e} is allowed"
            )


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference: relative above 1, absolute below; NaN if a number is.

    Both mean about five digits. Where thousands of terms cancel to a small number among
    large ones, float32 does not have these digits; there, the scale follows from the
    image's largest number.
    """
    rest = tuple(range(1, theirs.ndim))
    with np.errstate(invalid="ignore"):
        size = np.abs(theirs)
        rounding = ROUNDING * size.max(axis=rest, keepdims=True)
        scale = np.maximum(np.maximum(1, size), rounding / TOLERANCE)
        return float(np.max(np.abs(ours - theirs) / scale))


def _describe_code(exported: Exported) -> Code | None:
    if "encoder" not in exported.outputs:
        return None
    shape = exported.outputs["encoder"].shape[1:]
    return Code(shape=shape, count=math.prod(shape))


def _speed(recipe: Recipe, history: History) -> float | None:
    """Training images per second of the median epoch.

    The first epoch, and the first after resuming, include the framework's warm-up.
    """
    seconds = float(np.median(history.seconds)) if history.seconds else 0.0
    return recipe.train_images / seconds if seconds > 0 else None


def _score(
    networks: dict[str, Network],
    dataset: Dataset,
    count: int,
    noise: Noise | None = None,
) -> Scores:
    """Scores on test images; an autoencoder may get them with noise."""
    images, labels = dataset.test_images[:count], dataset.test_labels[:count]
    check_images(images)
    if "classifier" in networks:
        answers = networks["classifier"](images).argmax(axis=1)
        scores = dict.fromkeys(("bce", "mse", "psnr", "ssim", "uqi", "uqi_sewar"))
        accuracy = float(np.mean(answers == labels))
        return Scores(images=len(images), **scores, accuracy=accuracy)
    given = noisy_test_images(images, noise) if noise else images
    decoded = autoencode(networks["encoder"], networks["decoder"], given)
    scores = metrics.score(images, decoded)
    if math.isinf(scores["psnr"]):  # no pixel is wrong; JSON has no infinity
        scores["psnr"] = None
    return Scores(**scores, accuracy=None)


def _provenance(dataset: Dataset, exported: Exported) -> Provenance:
    return Provenance(
        git=git_version(),
        versions=versions(_PACKAGES),
        dataset_sha256=dataset.sha256,
        machine=", ".join(filter(None, (machine(), exported.device))),
        created=now(),
    )
