"""The `caebook` command.

Each group of subcommands is added by a function of its own, which also says which
function runs them. A running function returns the exit status.

What takes a second to import is imported within the functions, so that an interrupt in
that second is told from an error.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tqdm import tqdm

from caebook.errors import CaebookError, DataError

if TYPE_CHECKING:
    import numpy as np

    from caebook.codec import Header, Model

__all__ = ["main"]

Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if something was wrong with data or files, 130 if the user
        interrupted. Wrong usage ends the process with status 2, as argparse does.
    """
    try:
        arguments = _parser().parse_args(argv)
        status = arguments.run(arguments)
        if sys.stdout is not None:  # it is None where it was closed beforehand
            sys.stdout.flush()
        return status
    except CaebookError as error:
        print(f"caebook: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("caebook: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # as `caebook … | head` makes
            print(f"caebook: {error}", file=sys.stderr)
        # What could not be printed is still waiting, and would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


def _parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="caebook",
        description="Tools of the book “Convolutional Autoencoders, Measured”.",
    )
    groups = parser.add_subparsers(metavar="command", required=True)
    _add_data(groups)
    _add_codec(groups)
    _add_model(groups)
    return parser


# --- caebook data -----------------------------------------------------------------


def _add_data(groups: argparse._SubParsersAction) -> None:
    """Add `caebook data …`."""
    from caebook import data

    known = f"one of {', '.join((*data.NAMES, *data.AUTO))}"
    parser = groups.add_parser("data", help="list, fetch and verify the data sets")
    commands = parser.add_subparsers(metavar="command", required=True)

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("list", _list_data, "Say which data sets are here, and where.")
    fetch = add("fetch", _fetch_data, "Download or draw data sets, and verify them.")
    fetch.add_argument("names", nargs="+", metavar="name", help=known)
    verify = add("verify", _verify_data, "Read every byte of data sets and check it.")
    verify.add_argument(
        "names", nargs="*", metavar="name", help=f"{known}; all that are here if none"
    )
    resolve = add(
        "resolve", _resolve_data, "Print which data set a name like auto-digits means."
    )
    resolve.add_argument("name", help=known)


def _list_data(arguments: argparse.Namespace) -> int:
    """Print one line per data set."""
    from caebook import data

    status = 0
    for name in data.NAMES:
        try:
            place = data.locate(name)
            state = str(place) if place else _how_to_get(name)
        except DataError as error:
            state, status = str(error), 1
        print(f"{name:<15} {state}")
    for name, choices in data.AUTO.items():
        print(f"{name:<15} {' if available, else '.join(choices)}")
    return status


def _how_to_get(name: str) -> str:
    """Say what happens when a data set that is not here is asked for."""
    from caebook.data import registry

    if name.startswith("glyph-"):
        return "not here; drawn when it is first used"
    if name == "mnist":
        return "not here; downloaded when it is first used"
    size = f"{registry.REAL[name].archive.size / 1e6:.0f} MB"
    return f"not here; `caebook data fetch {name}` downloads it ({size})"


def _fetch_data(arguments: argparse.Namespace) -> int:
    """Fetch data sets and print where their files are."""
    from caebook import data

    for name in arguments.names:
        for path in data.fetch(name):
            print(path)
    return 0


def _verify_data(arguments: argparse.Namespace) -> int:
    """Verify data sets and print the checksums of their files."""
    from caebook import data

    names = arguments.names or [name for name in data.NAMES if data.locate(name)]
    if not names:
        raise DataError(
            f"no data set is here yet, looked in {data.cache_folder()}; get one with "
            "`caebook data fetch auto-digits`"
        )
    for name in names:
        for path, sha256 in data.verify(name).items():
            print(f"{sha256}  {path}")
        print(f"{name}: sound{_REMARKS.get(name, '')}")
    return 0


_REMARKS = {
    "emnist-letters": " in sizes, counts and labels; no checksums are published",
}


def _resolve_data(arguments: argparse.Namespace) -> int:
    """Print the concrete name, and nothing else, on standard output."""
    from caebook import data

    print(data.resolve(arguments.name))
    return 0


# --- caebook compress, decompress, info -------------------------------------------


def _add_codec(groups: argparse._SubParsersAction) -> None:
    """Add `caebook compress`, `caebook decompress` and `caebook info`."""
    compress = groups.add_parser(
        "compress",
        help="make a .cae file of images",
        description="Make a .cae file of 28×28 grey images: PNG files, a folder of PNG "
        "files, one IDX file (gzipped or not) or one NPY file of uint8. Prints how "
        "many bytes that took.",
    )
    compress.add_argument("inputs", nargs="+", type=Path, metavar="input")
    compress.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="default: the input's name with .cae",
    )  # fmt: skip
    _add_model_option(compress, "the one that comes with the package")
    compress.add_argument(
        "--coder", choices=("static", "adaptive"), default="static",
        help="adaptive learns while it goes: for images unlike the model's own "
        "(default: static)",
    )  # fmt: skip
    _add_writing_options(compress)
    compress.set_defaults(run=_compress)

    decompress = groups.add_parser(
        "decompress",
        help="make images of a .cae file",
        description="Make the images of a .cae file again: a PNG file of a single "
        "one, an NPY or IDX file, or a folder of PNG files.",
    )
    decompress.add_argument("file", type=Path, metavar="file.cae")
    decompress.add_argument(
        "-o", "--output", type=Path, metavar="PATH",
        help="default: the file's name with .png for one image, .npy for several",
    )  # fmt: skip
    decompress.add_argument(
        "--format", choices=("png", "idx", "npy"),
        help="default: by the output's name; without an ending, a folder of PNG files",
    )  # fmt: skip
    _add_model_option(decompress, "the one that the file names")
    decompress.add_argument(
        "--max-images", type=_count, default=1_000_000, metavar="N",
        help="refuse files that declare more (default: 1,000,000)",
    )  # fmt: skip
    _add_writing_options(decompress)
    decompress.set_defaults(run=_decompress)

    info = groups.add_parser(
        "info",
        help="say what is in a .cae file",
        description="Check a .cae file from the first byte to the last, and say what "
        "is in it.",
    )
    info.add_argument("file", type=Path, metavar="file.cae")
    info.set_defaults(run=_info)


def _add_model_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option that chooses a model."""
    parser.add_argument(
        "-m", "--model", metavar="MODEL",
        help="a model's name, as `caebook model list` prints it, or the folder of a "
        f"run (default: {default})",
    )  # fmt: skip


def _add_writing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that write files."""
    parser.add_argument(
        "--force", action="store_true", help="replace files that are there already"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _count(text: str) -> int:
    """Read a whole number, 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 1 or more")
    return int(text)


def _compress(arguments: argparse.Namespace) -> int:
    """Make a .cae file."""
    from caebook import codec
    from caebook.codec import pictures

    target = arguments.output or _beside(arguments.inputs, ".cae")
    pictures.check_free(target, arguments.force)
    with _progress(None, arguments.quiet) as bar:
        images = pictures.read_pictures(arguments.inputs, bar.update)
    model = codec.find_model(arguments.model or codec.DEFAULT_MODEL)
    size = 0
    with (
        _progress(len(images), arguments.quiet) as bar,
        pictures.replacing(target, arguments.force) as file,
    ):
        for part in codec.compressed(images, model, arguments.coder, bar.update):
            size += file.write(part)
    print(f"{target}: {_sizes(size, len(images))}")
    return 0


def _decompress(arguments: argparse.Namespace) -> int:
    """Make images of a .cae file."""
    from caebook import codec
    from caebook.codec import pictures

    with _opened(arguments.file) as file:
        header = codec.read_header(file)
        kind, target = _kind_and_target(arguments, header.count)
        model = _model_of(header, arguments.model)
        with _progress(header.count, arguments.quiet) as bar:
            parts = codec.decompressed(file, header, model, arguments.max_images)
            pictures.write_pictures(
                target, kind, header.count, _counted(parts, bar), arguments.force
            )
    images = "1 image" if header.count == 1 else f"{header.count:,} images"
    print(f"{target}: {images}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    """Print what a .cae file says of itself, and whether its model is here."""
    from caebook import codec

    with _opened(arguments.file) as file:
        header = codec.read_header(file)
    try:
        here = f"in {_model_of(header, None).run.folder}"
    except DataError as error:
        here = str(error)
    payload = header.size - header.length
    rows = {
        "format": f".cae, version {header.version}; checksum fits",
        "images": f"{header.count:,} of 28×28 pixels, 8-bit grey",
        "size": _sizes(header.size, header.count),
        "header": f"{header.length} bytes, and {payload:,} of blocks and checksum",
        "code": f"{header.numbers:,} numbers of {header.bits} bits ({header.quantiser}"
        " quantiser)",
        "entropy coder": header.coder,
        "model": f"{header.model}, checksum {header.checksum.hex()}",
        "found": here,
    }
    for name, text in rows.items():
        print(f"{name:<14}{text}")
    return 0


def _beside(inputs: Sequence[Path], suffix: str) -> Path:
    """Name of the output if none is given."""
    if len(inputs) > 1:
        raise DataError("say with -o where the file made of several inputs goes")
    path = inputs[0]
    if path.name in ("", ".."):
        path = path.resolve()
    if not path.name:
        raise DataError(f"say with -o where the file made of {path} goes")
    return path.with_name((path.name if path.is_dir() else path.stem) + suffix)


def _kind_and_target(arguments: argparse.Namespace, count: int) -> tuple[str, Path]:
    """Format and place of what is decompressed; DataError if something is there."""
    from caebook.codec import pictures

    target, kind = arguments.output, arguments.format
    if target is None:
        kind = kind or ("png" if count == 1 else "npy")
        suffix = "" if kind == "png" and count > 1 else f".{kind}"
        target = _beside([arguments.file], suffix)
    endings = {".png": "png", ".idx": "idx", ".npy": "npy", "": "png"}
    if target.name.endswith("ubyte"):
        endings[target.suffix] = "idx"
    if kind is None and target.suffix not in endings:
        raise DataError(
            f"{target}: say with --format what to write, or let the name end in .png, "
            ".idx or .npy"
        )
    kind = kind or endings[target.suffix]
    if kind == "png" and (target.suffix != ".png" or os.path.isdir(target)):
        pictures.check_folder_free(target, arguments.force)
        return "folder", target
    if kind == "png" and count > 1:
        raise DataError(
            f"{target}: {count:,} images do not fit in one PNG file; give a name "
            "without .png for a folder of them, or one with .npy or .idx"
        )
    pictures.check_free(target, arguments.force)
    return kind, target


def _model_of(header: "Header", name: str | None) -> "Model":
    """Find the model that a file was written with, or the one that was asked for."""
    from caebook import codec

    if name is not None:
        return codec.find_model(name)
    return codec.find_model(header.model, header.checksum)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a .cae file; what is wrong with it is said with its name."""
    from caebook import codec
    from caebook.codec import pictures

    try:
        with pictures.opened(path) as file:
            yield file
    except codec.CorruptFile as error:
        raise DataError(f"{path}: {error}") from error


def _progress(count: int | None, quiet: bool) -> tqdm:
    """A bar on a terminal, for what takes longer than a moment."""
    return tqdm(total=count, unit=" images", disable=True if quiet else None, delay=0.5)


def _counted(parts: "Iterator[np.ndarray]", bar: tqdm) -> "Iterator[np.ndarray]":
    """Pass parts on, and let the bar know how long they were."""
    for part in parts:
        yield part
        bar.update(len(part))


def _sizes(size: int, count: int) -> str:
    """Say how many bytes that is, for each image and pixel."""
    images = "1 image" if count == 1 else f"{count:,} images"
    return (
        f"{images}, {size:,} bytes; {size / count:.2f} bytes an image, "
        f"{8 * size / count / 784:.3f} bits a pixel, {784 * count / size:.1f} : 1"
    )


# --- caebook model ----------------------------------------------------------------


def _add_model(groups: argparse._SubParsersAction) -> None:
    """Add `caebook model …`."""
    parser = groups.add_parser("model", help="list and make models to compress with")
    commands = parser.add_subparsers(metavar="command", required=True)

    text = "Say which models are here, and where."
    listing = commands.add_parser("list", help=text, description=text)
    listing.set_defaults(run=_list_models)

    text = "Make a model of a run: fit a quantiser and tables to its codes."
    make = commands.add_parser(
        "make",
        help=text,
        description=f"{text} They are kept beside the run, or beside a copy of it.",
    )
    make.add_argument("folder", type=Path, metavar="run", help="folder of the run")
    make.add_argument(
        "--bits", type=int, choices=range(1, 9), default=4, metavar="1…8",
        help="bits of a number before entropy coding (default: 4)",
    )  # fmt: skip
    make.add_argument(
        "--quantiser", choices=("uniform", "lloyd-max"), default="lloyd-max",
        help="how levels are chosen (default: lloyd-max)",
    )  # fmt: skip
    make.add_argument(
        "--dataset", metavar="NAME",
        help="fit to training images of this data set (default: the run's own)",
    )  # fmt: skip
    make.add_argument(
        "--images", type=_count, default=10_000, metavar="N",
        help="how many training images (default: 10,000)",
    )  # fmt: skip
    make.add_argument(
        "--copy-to", type=Path, metavar="FOLDER",
        help="first copy the run here, with a faster decoder: src/caebook/models is "
        "where the package's own models are",
    )  # fmt: skip
    make.add_argument("--quiet", action="store_true", help="show no progress")
    make.set_defaults(run=_make_model)


def _list_models(arguments: argparse.Namespace) -> int:
    """Print one line per model."""
    from caebook import codec

    paths = codec.list_models()
    for path in paths:
        model = codec.Model.load(path)
        default = " (default)" if model.id == codec.DEFAULT_MODEL else ""
        print(f"{model.id}{default}  {path}")
    if not paths:
        print("no model is here yet; `caebook model make` makes one of a run")
    return 0


def _make_model(arguments: argparse.Namespace) -> int:
    """Fit a model to a run, and print its name and file."""
    from dataclasses import replace

    from caebook import codec, data

    run = codec.read_run(arguments.folder)
    dataset = data.load(arguments.dataset or run.record.dataset)
    try:
        images, *_ = dataset.training_split(arguments.images)
    except ValueError as error:
        raise DataError(str(error)) from error
    about = {"dataset": dataset.name, "sha256": dataset.sha256}
    with _progress(len(images), arguments.quiet) as bar:
        model = codec.fit(
            run, images, arguments.bits, arguments.quantiser, about, bar.update
        )
    if arguments.copy_to is not None:
        model = replace(model, run=codec.package(run, arguments.copy_to))
    path = model.save()
    print(f"{model.id}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
