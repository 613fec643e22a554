"""Records: what ``run.json`` says about a run, declared once.

Fields stand in the order in which they are written. A field that does not apply is
null. Unknown fields, of a later version, are kept.
"""

from __future__ import annotations

import json
import math
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from caebook.training.history import History
from caebook.training.recipes import Recipe
from caebook.validation import STRICT

SCHEMA = 1

#: The ONNX models that a run of each kind has.
MODELS = {"autoencoder": ("encoder", "decoder"), "classifier": ("classifier",)}

# Training gives these fields defaults, but every record has them. A field that `Recipe`
# gains later is missing in earlier records, and does not belong here.
_REQUIRED = {
    "recipe": (
        *("optimizer", "learning_rate", "schedule", "loss", "epochs", "batch_size"),
        *("train_images", "precision"),
    ),
    "history": ("loss", "val_loss", "seconds"),
}


class _Part(BaseModel):
    model_config = ConfigDict(
        **STRICT, extra="allow", frozen=True, revalidate_instances="always"
    )


class Parameters(_Part):
    """Numbers of trainable weights and biases."""

    total: NonNegativeInt
    encoder: NonNegativeInt | None
    decoder: NonNegativeInt | None


class Code(_Part):
    """The latent code: its shape (h, w, c) and how many numbers that is."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    count: PositiveInt

    @model_validator(mode="after")
    def _check_count(self) -> Code:
        if math.prod(self.shape) != self.count:
            raise ValueError(
                f"count must be the product of shape {list(self.shape)}, "
                f"not {self.count}"
            )
        return self


class Scores(_Part):
    """Means over the test images, by `caebook.evaluation.metrics.score`.

    A classifier has an accuracy only, an autoencoder everything else. The PSNR of a
    perfect reconstruction is null.
    """

    images: NonNegativeInt
    bce: float | None
    mse: float | None
    psnr: float | None
    ssim: float | None
    uqi: float | None
    uqi_sewar: float | None
    accuracy: float | None


class Provenance(_Part):
    """Where the run was made, from what, and when."""

    git: str | None
    versions: dict[str, str]
    dataset_sha256: str
    machine: str
    created: str


class Record(_Part):
    """What ``run.json`` holds.

    Numbers are finite; a whole number may stand for a float.

    Attributes
    ----------
    test : scores of the reconstructions of the test images, which are given clean
    noisy_test : of a network that was trained to remove a noise, which the recipe
        names: how close its answers to test images with that noise are to the clean
        ones; None, and not written, for other networks

    Raises
    ------
    pydantic.ValidationError
        If a field is missing, has another type, or contradicts another field.
    """

    schema_version: int = Field(alias="schema")
    kind: Literal["autoencoder", "classifier"]
    system: str
    variant: str
    framework: Literal["keras", "torch"]
    dataset: str
    seed: NonNegativeInt
    profile: str
    recipe: Recipe
    parameters: Parameters
    code: Code | None
    history: History
    images_per_second: float | None
    test: Scores
    noisy_test: Scores | None = None
    provenance: Provenance

    @field_validator("schema_version")
    @classmethod
    def _check_schema(cls, schema: int) -> int:
        if schema != SCHEMA:
            raise ValueError(f"this version reads schema {SCHEMA}, not {schema}")
        return schema

    @field_validator("recipe", "history", mode="before")
    @classmethod
    def _check_complete(cls, value: object, info: ValidationInfo) -> object:
        required = _REQUIRED[info.field_name] if isinstance(value, dict) else ()
        if missing := [name for name in required if name not in value]:
            raise ValueError(f"{', '.join(missing)} missing")
        return value

    @field_validator("history")
    @classmethod
    def _check_history(cls, history: History) -> History:
        lengths = [len(history.loss), len(history.val_loss), len(history.seconds)]
        if len(set(lengths)) != 1:
            raise ValueError(
                "loss, val_loss and seconds must be equally long, but have "
                f"{', '.join(map(str, lengths))} entries"
            )
        return history

    @model_validator(mode="after")
    def _check_kind(self) -> Record:
        classifier = self.kind == "classifier"
        if classifier and self.code is not None:
            raise ValueError("code: must be null, because a classifier has no code")
        if not classifier and self.code is None:
            raise ValueError("code: is missing, but an autoencoder has one")
        needed = ["accuracy"] if classifier else ["bce", "mse", "ssim", "uqi"]
        needed += [] if classifier else ["uqi_sewar"]
        for name in needed:
            if getattr(self.test, name) is None:
                raise ValueError(f"test.{name}: must be a number for kind {self.kind}")
        if (self.noisy_test is None) != (self.recipe.noise is None):
            raise ValueError(
                "noisy_test: must be there if the recipe names a noise, and only then; "
                f"it names {self.recipe.noise}"
            )
        return self

    @field_serializer("recipe", "history")
    def _with_unknown_fields(self, value: Recipe | History) -> dict[str, object]:
        return dict(vars(value))

    def to_json(self) -> str:
        """The text of ``run.json``: one field a line, the same digits as in memory."""
        content = self.model_dump(mode="json", by_alias=True)
        if self.noisy_test is None:  # as in records that are older than this field
            del content["noisy_test"]
        return json.dumps(content, indent=1, allow_nan=False) + "\n"
