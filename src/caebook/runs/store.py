"""Reading, finding and using runs.

A run is a folder, named by `caebook.runs.run_id`, that holds ``encoder.onnx`` and
``decoder.onnx`` (or ``classifier.onnx``) and ``run.json``. Reading and using a run
needs ONNX Runtime only, neither TensorFlow nor PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from caebook.errors import RunError
from caebook.files import root
from caebook.images import check_images, to_uint8
from caebook.runs.inference import Network, autoencode
from caebook.runs.names import run_id
from caebook.runs.record import MODELS, Record
from caebook.settings import Settings
from caebook.training.recipes import SOURCE_RECIPES
from caebook.validation import describe


@dataclass(frozen=True)
class Run:
    """A recorded run. Images go in as uint8 (N, 28, 28); work is done in batches."""

    folder: Path
    record: Record = field(hash=False)

    @property
    def name(self) -> str:
        """The run's name, which is that of its folder."""
        return self.folder.name

    @property
    def trained(self) -> str:
        """How long it was trained, and whether in this build."""
        recipe = self.record.recipe
        epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}"
        images = f"{recipe.train_images:,} images"
        return f"{epochs} of {images}, {_origin(self.folder.parent)}"

    @property
    def comparable(self) -> bool:
        """Whether it has the recipe of its source and was trained on MNIST."""
        recipe = SOURCE_RECIPES.get(self.record.system)
        return self.record.recipe == recipe and self.record.dataset == "mnist"

    def row(self) -> dict[str, object]:
        """The run's row in a table: its network, its code and its test scores.

        An autoencoder's scores are on the scales of
        `caebook.evaluation.metrics.score`; a classifier's is the accuracy, 0 to 1.
        """
        record, test = self.record, self.record.test
        variant = "" if record.variant == "source" else f"+{record.variant}"
        about = {
            "system": record.system + variant,
            "framework": record.framework,
            "parameters": record.parameters.total,
        }
        if record.code is None:
            return {**about, "accuracy": test.accuracy}
        return {
            **about,
            "code": record.code.count,
            "BCE": test.bce,
            "MSE": test.mse,
            "PSNR, dB": test.psnr,
            "SSIM": test.ssim,
            "UQI": test.uqi,
            "UQI (sewar)": test.uqi_sewar,
        }

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → code, float32 (N, h, w, c), channels last."""
        check_images(images)
        return self._network("encoder")(images)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Code, float32 (N, h, w, c) → images, float32 (N, 28, 28)."""
        decoder = self._network("decoder")
        shape = self.record.code.shape
        given = getattr(code, "shape", None)
        if given is None or code.dtype != np.float32 or given[1:] != shape:
            what = type(code).__name__ if given is None else f"{code.dtype} {given}"
            raise TypeError(
                f"{self.name} decodes float32 of shape (N, {', '.join(map(str, shape))}"
                f"), not {what}"
            )
        if len(code) == 0:
            raise ValueError(f"{self.name}: there is no code to decode")
        return decoder(code)

    def decoded(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → the decoder's float32 output, (N, 28, 28).

        Only one batch of codes is in memory at a time.
        """
        check_images(images)
        encoder, decoder = self._network("encoder"), self._network("decoder")
        return autoencode(encoder, decoder, images)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → reconstructions, uint8 (N, 28, 28)."""
        return to_uint8(self.decoded(images))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) → probabilities, float32 (N, classes)."""
        check_images(images)
        return self._network("classifier")(images)

    @cached_property
    def _networks(self) -> dict[str, Network]:
        return {}

    def _network(self, model: str) -> Network:
        """The run's model of that name, opened on first use."""
        kind = self.record.kind
        if model not in MODELS[kind]:
            raise RunError(f"{self.name} is of kind {kind!r}: it has no {model}")
        if model not in self._networks:
            path = self.folder / f"{model}.onnx"
            try:
                content = path.read_bytes()
            except OSError as error:
                raise RunError(f"{path} cannot be read: {error}") from error
            self._networks[model] = Network(content, model, str(path))
        return self._networks[model]


def read(folder: Path) -> Run:
    """Read a run from its folder.

    Raises
    ------
    RunError
        If ``run.json`` is missing, damaged, of another schema, or of another run.
    """
    path = Path(folder) / "run.json"
    try:
        record = Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be used: {error}") from error
    except ValidationError as error:
        raise RunError(f"{path} cannot be used: {describe(error)}") from error
    name = run_id(
        record.system, record.framework, record.dataset, record.variant, record.seed
    )
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
    """Read the best trained run that is available, and print which one it is.

    Under ``reader``, ``reference/`` comes before this build; under ``full``, this build
    before ``reference/``; under ``smoke``, only this build counts. If there is no run
    of the variant, its brief training replaces it: ``short`` replaces ``source``,
    ``nearest+short`` replaces ``nearest``.

    Raises
    ------
    RunError
        If there is none; the message says where it was looked for.
    """
    folders = _folders(settings)
    variants = [variant]
    if variant.split("+")[-1] != "short":
        variants.append("short" if variant == "source" else f"{variant}+short")
    for candidate in variants:
        name = run_id(system, framework, dataset, candidate, seed)
        for folder in folders:
            if (folder / name / "run.json").is_file():
                run = read(folder / name)
                line = f"using {name} ({_origin(folder)})"
                if candidate != variant:
                    line += ", because no fully trained run is available"
                print(line)
                return run
    names = [run_id(system, framework, dataset, each, seed) for each in variants]
    raise RunError(_missing(f"run {' or '.join(names)}", folders))


def find(system: str, dataset: str, *, settings: Settings) -> list[Run]:
    """All runs of an experiment, by name, from the first folder that has any.

    Parameters
    ----------
    system : the experiment's, e.g. ``"ladder"``; its runs are variants and seeds

    Raises
    ------
    RunError
        If there is none; the message says where they were looked for.
    """
    folders = _folders(settings)
    for folder in folders:
        found = [
            run
            for path in sorted(folder.glob(f"{system}+*/run.json"))
            if (run := read(path.parent)).record.dataset == dataset
            and run.record.variant != "short"
        ]
        if found:
            print(f"using {len(found)} runs of {system} ({_origin(folder)})")
            return found
    raise RunError(_missing(f"run of {system} on {dataset}", folders))


def list_runs(folder: Path) -> list[Run]:
    """All runs in `folder`, by name; RunError if one of them is damaged."""
    return [
        read(path.parent)
        for path in sorted(Path(folder).glob("*/run.json"))
        if not path.parent.name.startswith(".")
    ]


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


def _missing(what: str, folders: list[Path]) -> str:
    places = " or ".join(map(str, folders))
    return f"there is no {what} in {places}. Run 'make book', which trains it."
