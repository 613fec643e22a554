"""One line trains: fit a network by its recipe, export, check, score and record it."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from caebook import data, runs
from caebook.settings import Settings
from caebook.training.boundary import Exported
from caebook.training.recipes import Recipe

if TYPE_CHECKING:
    import keras
    import torch


def train(
    model: keras.Model | torch.nn.Module,
    system: str,
    settings: Settings,
    *,
    variant: str | None = None,
    recipe: Recipe | None = None,
    dataset: data.Dataset | None = None,
    split: tuple[np.ndarray, np.ndarray] | None = None,
) -> runs.Run:
    """Train a network on its images, or a classifier on their labels, and record it.

    One line is printed an epoch. The run is saved in ``settings.runs_dir``.

    Parameters
    ----------
    model : a ``keras.Sequential`` of encoder and decoder, a PyTorch module with
        ``encoder`` and ``decoder``, or a classifier that ends in logits
    system : its name, which decides the recipe; "classifier" for a classifier
    variant : default ``settings.variant``; name everything that is not the source's own
    recipe : default ``settings.recipe(system)``
    dataset : default ``settings.digits``
    split : images to train and to validate on, uint8 (N, 28, 28); default those of the
        data set's `training_split`

    Returns
    -------
    Run
        Ready to use; its record holds recipe, losses and test scores.

    Raises
    ------
    TypeError, ValueError
        If network, recipe and images do not match.
    RunError
        If the trained network cannot be recorded, as when a weight is not finite.
    """
    framework = _framework(model)
    dataset = dataset or data.load(settings.digits)
    recipe = recipe or settings.recipe(system)
    variant = variant or settings.variant
    classifier = recipe.loss == "crossentropy"
    name = runs.run_id(
        *(system, _name(framework), dataset.name, variant, settings.seed)
    )
    if split is None:
        images, labels, validation, names = dataset.training_split(
            recipe.train_images, settings.seed
        )
    else:
        (images, validation), labels, names = split, None, None
    few = slice(settings.validation_images)
    history = framework.fit(
        model,
        images,
        recipe,
        validation=validation[few],
        labels=labels if classifier else None,
        validation_labels=names[few] if classifier else None,
        seed=settings.seed,
        checkpoint=settings.checkpoint(name),
    )
    return runs.save(
        _export(framework, model, dataset.test_images, classifier),
        system=system,
        dataset=dataset,
        recipe=recipe,
        history=history,
        settings=settings,
        variant=variant,
        prior=_prior_weights(model),
    )


def _framework(model: object) -> ModuleType:
    """`caebook.training.keras` or `.torch`, whichever the model is of."""
    packages = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    if "keras" in packages:
        from caebook.training import keras as framework

        return framework
    if "torch" in packages:
        from caebook.training import torch as framework

        return framework
    raise TypeError(
        f"{type(model).__name__} is neither a keras.Model nor a torch.nn.Module"
    )


def _prior_weights(model: object) -> dict[str, np.ndarray] | None:
    """Weights of the part that prices the code, by name; None if there is none."""
    if hasattr(model, "prior"):
        named = model.prior.named_parameters()
        return {name: weights.detach().cpu().numpy() for name, weights in named}
    for layer in getattr(model, "layers", ()):
        if hasattr(layer, "bits"):
            return {str(i): weights for i, weights in enumerate(layer.get_weights())}
    return None


def _name(framework: ModuleType) -> str:
    return framework.__name__.rpartition(".")[2]


def _export(
    framework: ModuleType, model: object, images: np.ndarray, classifier: bool
) -> Exported:
    if classifier:
        return framework.export_classifier(model, images)
    encoder, decoder = halves(model)
    return framework.export(encoder, decoder, images)


def halves(model: keras.Model | torch.nn.Module) -> tuple:
    """Encoder and decoder of an autoencoder.

    Raises
    ------
    TypeError
        If it does not consist of two halves.
    """
    if hasattr(model, "encoder") and hasattr(model, "decoder"):
        return model.encoder, model.decoder
    parts = list(getattr(model, "layers", ()))
    # A layer between them that prices the code is needed in training only.
    parts = [part for part in parts if not hasattr(part, "bits")]
    if len(parts) == 2:
        return tuple(parts)
    raise TypeError(
        "an autoencoder must consist of two halves, as in "
        "keras.Sequential([encoder, decoder]), or have `encoder` and `decoder`"
    )
