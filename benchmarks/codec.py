"""The codec's speed, and how close its streams come to the ideal size.

Run from anywhere, in the book's environment: ``python benchmarks/codec.py [MODEL]``,
by default with the model that comes with the package. One thread; times are processor
time, the least of several tries.
"""

from __future__ import annotations

import resource
import sys

import numpy as np
from measuring import Tables, least, parser, pin, save

from caebook import codec, data

COUNT = 10_000
REPEATS = 5
WANTED = 5_000  # images a second each way with 16 numbers: the project's aim
NOTE = f"""\
The codec with its default model, network included, in one thread; the aim is
{WANTED:,} images a second each way. *Over ideal* is how much larger the files are than
the ideal code for the model's static tables. The entropy coder alone codes random
symbols."""


def whole_files(model: codec.Model, images: np.ndarray) -> list[dict]:
    """Measure compressing and decompressing, network included."""
    rows = []
    for coder in codec.CODERS:
        compress, content = least(
            lambda coder=coder: codec.compress(images, model, coder), REPEATS
        )
        decompress, found = least(
            lambda content=content: codec.decompress(content, model), REPEATS
        )
        symbols = model.symbols(images)
        if not np.array_equal(found, model.images(symbols)):
            raise SystemExit("decompressing does not give the model's reconstructions")
        ideal = codec.ideal_bits(symbols, model.tables) / 8
        rows.append(
            {
                "coder": coder,
                "images/s compressed": len(images) / compress,
                "images/s decompressed": len(images) / decompress,
                "bytes an image": len(content) / len(images),
                "over ideal, %": 100 * (len(content) / ideal - 1),
            }
        )
    return rows


def stream(numbers: int, levels: int, images: int) -> dict:
    """Measure the entropy coder alone, on symbols of unequal frequency."""
    values = np.random.default_rng(0).exponential(levels / 8, (images, numbers))
    symbols = np.minimum(values, levels - 1).astype(np.uint8)
    tables = codec.frequencies(codec.count_levels(symbols, levels))
    coder = codec.StaticCoder(tables)
    encode, stream = least(lambda: coder.encode(symbols), REPEATS)
    decode, found = least(lambda: coder.decode(stream, images), REPEATS)
    if not np.array_equal(found, symbols):
        raise SystemExit("decoding does not give the symbols that were encoded")
    ideal = codec.ideal_bits(symbols, tables) / 8
    return {
        "numbers an image": numbers,
        "encoded, million/s": symbols.size / encode / 1e6,
        "decoded, million/s": symbols.size / decode / 1e6,
        "over ideal, %": 100 * (len(stream) / ideal - 1),
    }


def main() -> int:
    options = parser(__doc__)
    options.add_argument("model", nargs="?", help="name or folder of another model")
    chosen = options.parse_args()
    pin()
    try:
        model = codec.find_model(*filter(None, [chosen.model]))
    except codec.CodecError as error:
        print(f"codec: {error}", file=sys.stderr)
        return 1
    count = 500 if chosen.quick else COUNT
    files = whole_files(model, data.load("auto-digits").test_images[:count])
    tables: Tables = {
        f"whole files of {count:,} images, {model.id}": files,
        "entropy coder alone": [
            stream(16, 16, count), stream(12_544, 16, max(1, count * 300 // COUNT))
        ],
    }  # fmt: skip
    save(chosen.output, "codec", "Codec", NOTE, tables)
    slowest = min(rate for row in files for name, rate in row.items() if "/s" in name)
    if slowest < WANTED and not chosen.quick:
        print(f"NOT MET: {WANTED:,} images a second each way are wanted")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at most {peak:,.0f} MB of memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
