"""Making models: fitting levels and tables to a run's codes, and packaging a run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from caebook import runs
from caebook.codec.entropy import count_levels, frequencies
from caebook.codec.model import (
    Model,
    Progress,
    network_errors,
    read_file,
    read_run,
)
from caebook.codec.quantise import SAMPLE, WAYS
from caebook.errors import CodecError, RunError
from caebook.files import replacing_folder
from caebook.images import check_images, slices
from caebook.runs import Run


def fit(
    run: Run,
    images: np.ndarray,
    bits: int = 4,
    kind: str = "lloyd-max",
    fitted: dict | None = None,
    progress: Progress | None = None,
    search: float = 0.0,
) -> Model:
    """Fit a quantiser and tables to a run's codes of training images.

    Parameters
    ----------
    run : Run
    images : ndarray of uint8, shape (N, 28, 28)
        Training images, in no particular order.
    bits, kind
        Of the quantiser; see `caebook.codec.quantise.WAYS`.
    fitted : dict, optional
        Where the images came from, to be recorded; anything that JSON can hold.
    progress : callable, optional
        Called with the number of images just done.
    search : float
        See `Model`. If above 0, tables are fitted again to codes that were searched
        with the first ones, of at most 10,000 of the images.

    Returns
    -------
    Model
        Not saved yet.

    Raises
    ------
    CodecError
        If the run is a classifier, or its encoder cannot be used.
    ValueError
        If the kind of quantiser is unknown.
    """
    check_images(images)
    if run.record.kind != "autoencoder":
        raise CodecError(f"{run.name} is a classifier: it makes no codes to store")
    if kind not in WAYS:
        raise ValueError(f"quantiser {kind!r} is none of {list(WAYS)}")
    numbers = run.record.code.count
    counts = np.zeros((numbers, 1 << bits), np.int64)
    with network_errors(run):
        enough = images[: max(1, SAMPLE // numbers)]
        quantiser = WAYS[kind](run.encode(enough), bits)
        for part in slices(len(images)):
            symbols = quantiser.encode(run.encode(images[part]))
            counts += count_levels(symbols, 1 << bits)
            if progress is not None:
                progress(len(symbols))
    about = {**(fitted or {}), "images": len(images)}
    model = Model(run, quantiser, frequencies(counts), about, search)
    if not search:
        return model
    symbols = model.symbols(images[:_SEARCHED])
    counts = count_levels(symbols, 1 << bits)
    return replace(model, tables=frequencies(counts))


_SEARCHED = 10_000  # of the images, because a search takes a hundred decodings each


def package(run: Run, folder: Path) -> Run:
    """Copy a run to `folder`, with a decoder that computes the same images faster.

    Parameters
    ----------
    run : Run
    folder : Path
        Where the run's folder is put; made if it is missing.

    Returns
    -------
    Run
        The copy. If it exists already, with just these files, it is taken as it is:
        it may hold earlier models.

    Raises
    ------
    CodecError
        If the copy exists with other files, or the run's networks cannot be used.
    WriteError
        If the copy cannot be written. Nothing is left behind.
    """
    target = folder / run.name
    content = {name: read_file(run.folder / name) for name in _PACKAGED}
    if target.exists():
        with tempfile.TemporaryDirectory() as place:
            content["decoder.onnx"] = _faster_decoder(run, Path(place))
        if any(read_file(target / name) != part for name, part in content.items()):
            raise CodecError(
                f"{target} exists already, with other networks; move it away first"
            )
        return read_run(target)
    with replacing_folder(target) as staging:
        for name, part in content.items():
            (staging / name).write_bytes(part)
        (staging / "decoder.onnx").write_bytes(_faster_decoder(run, staging))
    return read_run(target)


_PACKAGED = ("encoder.onnx", "decoder.onnx", "run.json")


def _faster_decoder(run: Run, staging: Path) -> bytes:
    """An equivalent of the run's decoder, which is tried out in `staging`."""
    from caebook.training.onnx import split_narrow_convolutions  # this needs `onnx`

    own = (run.folder / "decoder.onnx").read_bytes()
    codes = np.random.default_rng(0).random(
        (64, *run.record.code.shape), dtype=np.float32
    )
    with network_errors(run):
        wanted = run.decode(codes)
    for early in (True, False):
        try:
            faster = split_narrow_convolutions(own, early)
            (staging / "decoder.onnx").write_bytes(faster)
            found = Run(staging, run.record).decode(codes)
        except (ValueError, RunError):  # not a network for which this is right
            continue
        if found.shape == wanted.shape and np.allclose(
            found, wanted, rtol=0, atol=runs.TOLERANCE
        ):
            return faster
    return own
