"""Reading, finding and using runs.

A run is a folder, named by `caebook.runs.run_id`, that holds ``encoder.onnx`` and
``decoder.onnx`` (or ``classifier.onnx``) and ``run.json``, and ``prior.npz`` if it was
trained for the bits of its code. Reading and using a run needs ONNX Runtime only,
neither TensorFlow nor PyTorch.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

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

#: Drawn data sets, and the real ones whose runs serve them where they have none.
INSTEAD = {"glyph-digits": "mnist"}


@dataclass(frozen=True)
class Run:
    """A recorded run. Images go in as uint8 (N, 28, 28); work is done in batches.

    Attributes
    ----------
    folder : where its files are
    record : what ``run.json`` says
    instead_of : the data set that was asked for, if this run was trained on another
    """

    folder: Path
    record: Record = field(hash=False)
    instead_of: str | None = None

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
        if self.instead_of:
            images += f" of {self.record.dataset}"
        return f"{epochs} of {images}, {_origin(self.folder.parent)}"

    @property
    def comparable(self) -> bool:
        """Whether it has its source's recipe, and was trained and is used on MNIST."""
        recipe = SOURCE_RECIPES.get(self.record.system)
        on_mnist = self.record.dataset == "mnist" and self.instead_of is None
        return self.record.recipe == recipe and on_mnist

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

    def prior(self) -> dict[str, np.ndarray]:
        """Weights of the network that prices the code, by name, in their order.

        Raises
        ------
        RunError
            If they are missing or damaged.
        """
        path = self.folder / "prior.npz"
        try:
            zipfile.ZipFile(path).close()  # NumPy would try to unpickle anything else
            with np.load(path, allow_pickle=False) as content:
                return dict(content)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RunError(f"{path} cannot be read: {error}") from error

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
    optional: bool = False,
) -> Run | None:
    """Read the best trained run that is available, and print which one it is.

    If there is none and it is `optional`, that is printed, and None returned.

    By the source's recipe comes before by ours, and that before a brief training:
    ``source``, ``fast``, ``short``; or ``nearest``, ``nearest+fast``,
    ``nearest+short``. Whoever asks for ``fast`` gets that or the brief training.
    Of full trainings, ``reader`` takes the one in ``reference/`` and ``full`` that of
    this build; of brief ones, both take that of this build. Under ``smoke``, all that
    this build has comes first. Drawn digits that have no run at all get one that was
    trained on MNIST.

    Raises
    ------
    RunError
        If there is none; the message says where it was looked for.
    """
    names = []
    for place in _places(dataset, settings):
        for trained in _variants(variant, place.brief):
            name = run_id(system, framework, place.dataset, trained, seed)
            names.append(name)
            folder = place.folder / name
            # A record without models, as that of a further seed, is good for `find`.
            if (folder / "run.json").is_file() and any(folder.glob("*.onnx")):
                run = _used_for(dataset, read(folder))
                print(f"using {name} ({_origin(place.folder)}){_training(run, place)}")
                return run
    if optional:
        print(f"there is no run {names[0]} yet")
        return None
    raise RunError(_missing(f"run {' or '.join(dict.fromkeys(names))}", settings))


def _variants(variant: str, brief: bool) -> list[str]:
    """The variants that may be loaded for one that is asked for, the best first."""
    *change, how = variant.split("+") if variant != "source" else [variant]
    if how not in ("source", "fast", "short"):
        change, how = [*change, how], "source"
    if how == "short" and not brief:
        return []
    hows = ["short"] if brief else [how] if how == "fast" else ["source", "fast"]
    names = ["+".join([*change, *([] if h == "source" else [h])]) for h in hows]
    return [name or "source" for name in names]


def find(system: str, dataset: str, *, settings: Settings) -> list[Run]:
    """All finished trainings of a system, by name: every recipe, variant and seed.

    Of two trainings of one name, the better place's is taken; places are in the order
    of `load`. Drawn digits that have no full training get those on MNIST. Records are
    complete, but models may be missing. Without any full training the list is empty.
    """
    found: dict[str, Run] = {}
    for place in _places(dataset, settings):
        paths = () if place.brief else place.folder.glob(f"{system}[+-]*/run.json")
        for path in paths:
            run = _used_for(dataset, read(path.parent))
            record = run.record
            brief = "short" in record.variant.split("+")
            if (record.system, record.dataset) == (system, place.dataset) and not brief:
                found.setdefault(run.name, run)
    if any(run.instead_of is None for run in found.values()):
        found = {name: run for name, run in found.items() if run.instead_of is None}
    runs = [found[name] for name in sorted(found)]
    origins = " and ".join(sorted({_origin(run.folder.parent) for run in runs}))
    note = f" ({origins})" if runs else ""
    if runs and runs[0].instead_of:
        note += f", trained and tested on {runs[0].record.dataset}"
    print(f"found {len(runs)} finished trainings of {system}{note}")
    return runs


def list_runs(folder: Path) -> list[Run]:
    """All runs in `folder`, by name; RunError if one of them is damaged."""
    return [
        read(path.parent)
        for path in sorted(Path(folder).glob("*/run.json"))
        if not path.parent.name.startswith(".")
    ]


class _Place(NamedTuple):
    """Where to look for runs: on which data set, and for full or brief trainings."""

    folder: Path
    dataset: str
    brief: bool


def _places(dataset: str, settings: Settings) -> list[_Place]:
    """Where runs for a data set are looked for, the best first."""
    build, reference = _folders(settings)
    if settings.profile == "smoke":
        order = [(build, False), (build, True), (reference, False), (reference, True)]
    else:
        full = [(reference, False), (build, False)]
        order = full if settings.profile == "reader" else full[::-1]
        order += [(build, True), (reference, True)]
    return [
        _Place(folder, trained_on, how)
        for trained_on in (dataset, INSTEAD.get(dataset))
        if trained_on
        for folder, how in order
    ]


def _folders(settings: Settings) -> tuple[Path, Path]:
    return settings.runs_dir, root() / "reference"


def _used_for(dataset: str, run: Run) -> Run:
    if run.record.dataset == dataset:
        return run
    return replace(run, instead_of=dataset)


def _training(run: Run, place: _Place) -> str:
    """What a reader should know of its training, unless it was what was asked for."""
    how = f" briefly ({run.trained.rpartition(',')[0]})" if place.brief else ""
    if run.instead_of:
        # `trained` names the data set already
        on = "" if how else f" on {place.dataset}"
        return f", trained{how}{on}; the images of this page are drawn"
    return f", trained{how}" if how else ""


def _origin(folder: Path) -> str:
    return "reference" if folder.name == "reference" else "this build"


def _missing(what: str, settings: Settings) -> str:
    places = " or ".join(map(str, _folders(settings)))
    return f"there is no {what} in {places}. Run 'make book', which trains it."
