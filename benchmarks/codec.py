"""The codec's speed, and how close its streams come to the ideal size.

Run from anywhere, in the book's environment: ``python benchmarks/codec.py [MODEL]``,
by default with the model that comes with the package. One thread; times are processor
time, the least of several tries.
"""

import os

# Before NumPy is imported: one thread each, or the comparison means nothing.
os.environ["OMP_NUM_THREADS"] = "1"

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from caebook import codec, data

COUNT = 10_000
REPEATS = 5
WANTED = 5_000  # images a second each way with 16 numbers: the project's aim


def best(work: Callable[[], object]) -> tuple[float, object]:
    """Return the least processor time of `REPEATS` tries, and the result."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def speed(name: str, seconds: float, images: int) -> None:
    rate = images / seconds
    verdict = "" if images < COUNT else ", met" if rate >= WANTED else ", NOT MET"
    print(f"{name:<22}{rate:>12,.0f} images/s{verdict}")


def whole_files(model: codec.Model, images: np.ndarray) -> None:
    """Measure compressing and decompressing, network included."""
    print(f"{model.id}, {len(images):,} images; {WANTED:,} images/s wanted")
    for coder in codec.CODERS:
        seconds, content = best(
            lambda coder=coder: codec.compress(images, model, coder)
        )
        speed(f"compress, {coder}", seconds, len(images))
        seconds, found = best(lambda content=content: codec.decompress(content, model))
        speed(f"decompress, {coder}", seconds, len(images))
        symbols = model.symbols(images)
        if not np.array_equal(found, model.images(symbols)):
            raise SystemExit("decompressing does not give the model's reconstructions")
        ideal = codec.ideal_bits(symbols, model.tables) / 8
        size = f"{len(content):,} bytes, {len(content) / len(images):.3f} an image"
        excess = len(content) / ideal - 1
        print(f"{'':<22}{size}; {excess:+.2%} to the static tables' ideal")


def streams(numbers: int, levels: int, images: int) -> None:
    """Measure the entropy coder alone, on symbols of unequal frequency."""
    values = np.random.default_rng(0).exponential(levels / 8, (images, numbers))
    symbols = np.minimum(values, levels - 1).astype(np.uint8)
    tables = codec.frequencies(codec.count_levels(symbols, levels))
    coder = codec.StaticCoder(tables)
    print(f"entropy coder alone, {numbers:,} numbers of {levels} levels")
    seconds, stream = best(lambda: coder.encode(symbols))
    rate = symbols.size / seconds / 1e6
    print(f"{'encode':<22}{rate:>12.1f} million symbols/s")
    seconds, found = best(lambda: coder.decode(stream, images))
    rate = symbols.size / seconds / 1e6
    print(f"{'decode':<22}{rate:>12.1f} million symbols/s")
    assert np.array_equal(found, symbols)
    ideal = codec.ideal_bits(symbols, tables) / 8
    print(f"{'':<22}{len(stream):,} bytes, {len(stream) / ideal - 1:+.2%} to the ideal")


def main() -> int:
    try:
        model = codec.find_model(*sys.argv[1:2])
    except codec.CodecError as error:
        print(f"codec: {error}", file=sys.stderr)
        return 1
    images = data.load("auto-digits").test_images[:COUNT]
    whole_files(model, images)
    streams(16, 16, COUNT)
    streams(12_544, 16, 300)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at most {peak:,.0f} MB of memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
