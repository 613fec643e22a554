"""Decode damaged and forged ``.cae`` files with limited memory.

``python tests/mutate.py --count 100000 --seed 0`` makes that many files from good ones:
bits flipped, pieces cut out, doubled or exchanged, lengths changed, half of them with a
recomputed checksum. Each must decode to the images that it declares, or raise
`CorruptFile`. The same seed makes the same files. `test_codec.py` runs it with a
smaller count.
"""

import argparse
import re
import resource
import signal
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import tiny

from caebook import codec

MEMORY = 256 << 20  # bytes more than the process has when it starts decoding
SECONDS = 60  # a file that takes longer hangs
MAX_IMAGES = 200
# One level is nearly certain: few bytes stand for very many images.
TABLES = codec.frequencies(np.array([[1000, 1, 1, 0, 0, 0, 0, 0]] * 4))
LIMITS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seal(content: bytes) -> bytes:
    """Recompute the checksum at the end."""
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def mutated(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """One file with one to three kinds of damage."""
    content = bytearray(files[rng.integers(len(files))])
    if rng.random() < 0.1:
        return forged(rng, bytes(content))
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(8)
        at, other = sorted(rng.integers(len(content) + 1, size=2).tolist())
        if kind == 0:  # flip bits
            for _ in range(rng.integers(1, 9)):
                if content:
                    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        elif kind == 1:  # truncate
            del content[at:]
        elif kind == 2:  # lengthen
            content += rng.bytes(rng.integers(1, 40))
        elif kind == 3:  # cut out
            del content[at:other]
        elif kind == 4:  # double
            content[at:at] = content[at:other]
        elif kind == 5:  # splice with another
            piece = files[rng.integers(len(files))]
            content[at:] = piece[rng.integers(len(piece)) :]
        elif kind == 6:  # change one of the header's numbers, or a block's length
            fields = [(12, 4), (16, 2), (18, 2), (20, 4), (4, 1), (9, 1)]
            if len(content) > 9:
                fields.append((32 + content[9], 4))
            offset, size = fields[rng.integers(len(fields))]
            value = int(rng.choice(LIMITS)) if rng.random() < 0.5 else None
            if value is None:  # near the old value
                there = int.from_bytes(content[offset : offset + size], "little")
                value = max(0, there + int(rng.integers(-300, 301)))
            value %= 1 << 8 * size
            content[offset : offset + size] = value.to_bytes(size, "little")
        else:  # overwrite
            content[at : at + 8] = rng.bytes(8)
    content = bytes(content)
    return seal(content) if len(content) > 4 and rng.random() < 0.5 else content


def forged(rng: np.random.Generator, content: bytes) -> bytes:
    """A valid header with another count, and another block."""
    count = int(rng.choice([1, 2, 3, 20, MAX_IMAGES, MAX_IMAGES + 1]))
    symbols = 4 * count
    if rng.random() < 0.5:  # symbols that no encoder gives for an image
        high = 1 + rng.integers(8)
        chosen = rng.integers(0, high, (count, 4), dtype=np.uint8)
        stream = codec.StaticCoder(TABLES).encode(chosen)
    else:  # noise
        stream = rng.bytes(2 * rng.integers(2, 3 + symbols))
    start = content[:12] + struct.pack("<I", count) + content[16 : 32 + content[9]]
    return seal(start + struct.pack("<I", len(stream)) + stream + bytes(4))


def outcome(content: bytes, model: codec.Model, originals: set[bytes]) -> str:
    """Decode a file; AssertionError unless it ends as it should."""
    try:
        images = codec.decompress(content, model, MAX_IMAGES)
    except codec.CorruptFile as error:
        reason = re.sub(r"[0-9][0-9,]*", "#", str(error))
        reason = re.split(r":| which|(?<=model) ", reason)[0]
        return f"refused: {reason}"
    (count,) = struct.unpack_from("<I", content, 12)
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8, images.shape
    assert seal(content) == content, "decoded although its checksum is wrong"
    return "unchanged" if content in originals else "decoded"


def good_files(model: codec.Model) -> list[bytes]:
    """The files that are damaged."""
    return [
        codec.compress(tiny.images(count, seed=count), model, coder)
        for count in (1, 2, 9, 60)
        for coder in codec.CODERS
    ]


def too_long(*_: object) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def limit_memory() -> None:
    """Limit the process to `MEMORY` more bytes than it has now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        print("memory is not limited here")
        return
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    tally = Counter()
    with tempfile.TemporaryDirectory() as folder:
        run = tiny.write_run(Path(folder), side=2)
        levels = codec.uniform(run.encode(tiny.images(100)), 3)
        model = codec.Model(run, levels, TABLES)
        files = good_files(model)
        originals = set(files)
        for content in files:
            assert outcome(content, model, originals) == "unchanged"
        limit_memory()
        signal.signal(signal.SIGALRM, too_long)
        for index in range(arguments.count):
            content = mutated(rng, files)
            signal.alarm(SECONDS)
            try:
                tally[outcome(content, model, originals)] += 1
            except Exception as error:
                print(f"seed {arguments.seed}, file {index}: {content.hex()}")
                print(f"{type(error).__name__}: {error}")
                return 1
            signal.alarm(0)
            if sys.stderr.isatty() and index % 1000 == 0:
                print(f"\r{index:,}", end="", file=sys.stderr)
    print(f"seed {arguments.seed}, {arguments.count:,} files")
    for reason, count in tally.most_common():
        print(f"{count:>9,} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
