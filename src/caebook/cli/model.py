"""`caebook model`: list and make the models that files are compressed with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caebook.cli.common import file_path, positive, progress
from caebook.errors import DataError

if TYPE_CHECKING:
    from caebook.codec import Model


def add(groups: argparse._SubParsersAction) -> None:
    """Add `caebook model …`."""
    parser = groups.add_parser("model", help="list and make models to compress with")
    commands = parser.add_subparsers(metavar="command", required=True)

    text = "List the models, and where they are."
    listing = commands.add_parser("list", help=text, description=text)
    listing.set_defaults(run=_list)

    text = "Make a model from a run: fit a quantiser and tables to its codes."
    make = commands.add_parser(
        "make",
        help=text,
        description=f"{text} They are stored beside the run, or beside a copy of it.",
    )
    make.add_argument("folder", type=file_path, metavar="run", help="folder of the run")
    make.add_argument(
        "--bits", type=int, choices=range(1, 9), default=4, metavar="1…8",
        help="bits of a number before entropy coding (default: 4)",
    )  # fmt: skip
    make.add_argument(
        "--quantiser", choices=("uniform", "lloyd-max", "integers"),
        default="lloyd-max",
        help="how levels are chosen: integers for a network that was trained for "
        "rounding (default: lloyd-max)",
    )  # fmt: skip
    make.add_argument(
        "--dataset", metavar="NAME",
        help="fit to training images of this data set (default: the run's own)",
    )  # fmt: skip
    make.add_argument(
        "--images", type=positive, default=10_000, metavar="N",
        help="how many training images (default: 10,000)",
    )  # fmt: skip
    make.add_argument(
        "--search", type=float, default=0.0, metavar="WEIGHT",
        help="let the encoder try neighbouring levels and keep what lowers bits + "
        "WEIGHT · squared error (default: 0, no search)",
    )  # fmt: skip
    make.add_argument(
        "--copy-to", type=file_path, metavar="FOLDER",
        help="first copy the run to this folder, with a faster decoder; the models of "
        "the package are in src/caebook/codec/models",
    )  # fmt: skip
    make.add_argument("--quiet", action="store_true", help="show no progress")
    make.set_defaults(run=_make)


def _list(arguments: argparse.Namespace) -> int:
    """Print one line per model."""
    from caebook import codec

    paths = codec.list_models()
    for path in paths:
        model = codec.Model.load(path)
        default = " (default)" if model.id == codec.DEFAULT_MODEL else ""
        print(f"{_name(model)}{default}  {path}")
    if not paths:
        print("there is no model yet; `caebook model make` makes one from a run")
    return 0


def _make(arguments: argparse.Namespace) -> int:
    """Fit a model to a run, and print its name and file."""
    from dataclasses import replace

    from caebook import codec, data
    from caebook.codec.identity import weights_digest
    from caebook.codec.model import read_file

    run = codec.read_run(arguments.folder)
    dataset = data.load(arguments.dataset or run.record.dataset)
    try:
        images, *_ = dataset.training_split(arguments.images)
    except ValueError as error:
        raise DataError(str(error)) from error
    about = {"dataset": dataset.name, "sha256": dataset.sha256}
    with progress(len(images), arguments.quiet) as bar:
        model = codec.fit(
            run,
            images,
            arguments.bits,
            arguments.quantiser,
            about,
            bar.update,
            arguments.search,
        )
    if arguments.copy_to is not None:
        # The id is that of the run's own decoder, whichever computes the same faster.
        decoder = read_file(run.folder / "decoder.onnx")
        model = replace(
            model,
            run=codec.package(run, arguments.copy_to),
            weights=weights_digest(decoder),
        )
    path = model.save()
    print(f"{_name(model)}  {path}")
    return 0


def _name(model: Model) -> str:
    """The model's full name, with the digits of its id if it has one."""
    return model.id if model.weights is None else f"{model.id}-{model.short_id}"
