"""Decode damaged and forged ``.cae`` files with limited memory.

``python tests/mutate.py --count 100000 --seed 0`` makes that many files from good ones,
of versions 1 and 2: bits flipped, pieces cut out, doubled or exchanged, lengths
changed, half of them with recomputed checksums. Each must decode to the images that it
declares, or raise `CorruptFile`; and what can be salvaged of it must be the first
images of a good file, unless its checksums were recomputed. The same seed makes the
same files. ``--model`` names a model to use instead of a tiny one. `test_codec.py` runs
it with a smaller count.
"""

import argparse
import io
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny
import version1

from caebook import codec
from caebook.codec import blocks, container

MEMORY = 256 << 20  # bytes more than the process has when it starts decoding
SECONDS = 60  # a file that takes longer hangs
MAX_IMAGES = 200
# One level is nearly certain: few bytes stand for very many images.
TABLES = codec.frequencies(np.array([[1000, 1, 1, 0, 0, 0, 0, 0]] * 4))
LIMITS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
FIELDS = {
    1: [(12, 4), (16, 2), (18, 2), (20, 4), (4, 1), (9, 1)],
    2: [(4, 1), (5, 1), (6, 1), (7, 1), (11, 1), (12, 1), (13, 1), (12, 4)],
}


def pieces(content: bytes) -> list[tuple[int, int]]:
    """Start and end of each block of a file of version 2, without its checksum."""
    found, at, last = [], 6 + content[5] if len(content) > 5 else 0, False
    while at and not last and at < len(content):
        start, last, length, shift = at, bool(content[at] & 0x40), 0, 0
        at += 1
        while at < len(content):
            length |= (content[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if content[at - 1] < 0x80:
                break
        at += length
        if at + 4 > len(content):
            break
        found.append((start, at))
        at += 4
    return found


def seal(content: bytes) -> bytes:
    """Recompute all checksums, as far as the structure can be followed."""
    if content[4:5] == b"\x01":
        return version1.seal(content)
    sealed, places = bytearray(content), pieces(content)
    crc = zlib.crc32(content[: places[0][0]]) if places else 0
    for start, end in places:
        crc = zlib.crc32(content[start:end], crc)
        sealed[end : end + 4] = struct.pack("<I", crc)
    return bytes(sealed)


def declared(content: bytes) -> int:
    """How many images a sound file declares; 0 if its end is not where it should be."""
    if content[4] == 1:
        return struct.unpack_from("<I", content, 12)[0]
    total, end, first = 0, 0, 0
    for start, end in pieces(content):
        first = content[start]
        if first & 0x3F == 1:
            at = start + 1
            while content[at] & 0x80:
                at += 1
            value = content[at + 1 : end]
            digits = next(i for i, byte in enumerate(value) if byte < 0x80) + 1
            total += sum((v & 0x7F) << 7 * i for i, v in enumerate(value[:digits]))
    return total if end + 4 == len(content) and first & 0x40 else 0


def mutated(
    rng: np.random.Generator, files: list[bytes], model: codec.Model
) -> tuple[bytes, bool]:
    """One file with one to three kinds of damage, and whether it was sealed again."""
    content = bytearray(files[rng.integers(len(files))])
    version = content[4]
    if rng.random() < 0.1:
        forge = forged_1 if version == 1 else forged_2
        return forge(rng, bytes(content), model), True
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
        elif kind == 3:  # cut out, often whole blocks
            if (found := pieces(bytes(content))) and rng.random() < 0.5:
                at, other = found[rng.integers(len(found))]
                other += 4
            del content[at:other]
        elif kind == 4:  # double, often whole blocks
            if (found := pieces(bytes(content))) and rng.random() < 0.5:
                at, other = found[rng.integers(len(found))]
                other += 4
            content[at:at] = content[at:other]
        elif kind == 5:  # splice with another
            piece = files[rng.integers(len(files))]
            content[at:] = piece[rng.integers(len(piece)) :]
        elif kind == 6:  # change one of the header's numbers, or a block's length
            fields = list(FIELDS[version])
            if version == 1 and len(content) > 9:
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
    sealed = len(content) > 4 and rng.random() < 0.5
    return (seal(content) if sealed else content), sealed


def stream(rng: np.random.Generator, count: int, model: codec.Model, version: int):
    """Symbols that no encoder gives for an image, or noise."""
    levels = len(model.quantiser.levels)
    if rng.random() < 0.5:
        high = 1 + rng.integers(levels)
        chosen = rng.integers(0, high, (count, model.numbers), dtype=np.uint8)
        return model.coder(version=version).encode(chosen)
    return rng.bytes(2 * rng.integers(2, 3 + model.numbers * count))


def any_count(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, 20, MAX_IMAGES, MAX_IMAGES + 1]))


def forged_1(rng: np.random.Generator, content: bytes, model: codec.Model) -> bytes:
    """A valid header with another count, and another block."""
    count = any_count(rng)
    start = content[:12] + struct.pack("<I", count) + content[16 : 32 + content[9]]
    made = stream(rng, count, model, version=1)
    return seal(start + struct.pack("<I", len(made)) + made + bytes(4))


def forged_2(rng: np.random.Generator, content: bytes, model: codec.Model) -> bytes:
    """A valid header, and other blocks, some of them unknown."""
    writer = blocks.Writer()
    made = writer.header("static" if content[6] == 1 else "adaptive", content[7:11])
    number = int(rng.integers(1, 5))
    for index in range(number):
        kind = int(rng.choice([0, 1, 1, 1, 1, 2, 3, 9, 63]))
        count = any_count(rng) if rng.random() < 0.9 else int(rng.choice(LIMITS))
        payload = rng.bytes(rng.integers(20))
        if kind == blocks.IMAGES:
            code = stream(rng, min(count or 1, 300), model, version=2)
            payload = blocks.pack_images(count, code)
        elif kind == blocks.NAMES and rng.random() < 0.7:
            payload = blocks.pack_names(["a\0b", "../x", "y", "y"][: rng.integers(5)])
        elif kind == blocks.END:
            payload = payload[: rng.integers(2)]
        optional = kind > 1 and rng.random() < 0.7
        made += writer.block(kind, payload, index + 1 == number, optional)
    return made


def outcome(
    content: bytes, sealed: bool, model: codec.Model, originals: dict[bytes, bytes]
) -> str:
    """Decode and salvage a file; AssertionError unless it ends as it should."""
    saved = salvaged(content, model)
    if not sealed and saved:
        good = originals.values()
        assert any(pixels.startswith(saved) for pixels in good), "salvaged nonsense"
    try:
        images = codec.decompress(content, model, MAX_IMAGES)
    except codec.CorruptFile as error:
        reason = re.sub(r"[0-9][0-9,]*", "#", str(error))
        reason = re.split(r":| which|(?<=model) ", reason)[0]
        return f"refused: {reason}" + ("; some saved" if saved else "")
    assert images.shape == (declared(content), 28, 28), images.shape
    assert images.dtype == np.uint8
    assert seal(content) == content, "decoded although a checksum is wrong"
    if content[4] == 2:
        assert saved == images.tobytes(), "salvaged other images"
    if not sealed:
        assert images.tobytes() in originals.values(), "decoded other images"
    return "unchanged" if content in originals else "decoded"


def salvaged(content: bytes, model: codec.Model) -> bytes:
    """The pixels before the damage, as `caebook decompress --salvage` gives them."""
    file = io.BytesIO(content)
    try:
        contents = codec.examine(file, salvage=True)
        container.check_count(contents.count, MAX_IMAGES)
        if contents.header.version == 1:
            return b""
        contents = container.sound_streams(file, contents, model)
    except codec.CorruptFile:
        return b""
    assert contents.names is None or len(contents.names) == contents.count
    if not contents.count:
        return b""
    file.seek(0)
    parts = codec.decompressed(file, model, stop=len(contents.counts))
    return b"".join(part.tobytes() for part in parts)


def good_files(model: codec.Model) -> list[bytes]:
    """The files that are damaged."""
    made = []
    for count in (1, 2, 9, 60):
        images = tiny.images(count, seed=count)
        for coder in codec.CODERS:
            made += [
                codec.compress(images, model, coder),
                version1.compress(images, model, coder),
            ]
            if count > 2:
                names = [f"digit {number}.png" for number in range(count)]
                parts = codec.compressed(images, model, coder, None, count // 3, names)
                made.append(b"".join(parts))
    return made


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


def tiny_model(folder: Path) -> codec.Model:
    """Four numbers of three bits, with tables that expect one level."""
    run = tiny.write_run(folder, side=2)
    return codec.Model(run, codec.uniform(run.encode(tiny.images(100)), 3), TABLES)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="its name; default: a tiny one")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    tally, longest = Counter(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.model:
            model = codec.find_model(arguments.model)
            if model.search:  # it takes long, and decoding does not use it
                model = replace(model, search=0)
        else:
            model = tiny_model(Path(folder))
        files = good_files(model)
        originals = {c: codec.decompress(c, model).tobytes() for c in files}
        for content in files:
            assert outcome(content, False, model, originals) == "unchanged"
        limit_memory()
        signal.signal(signal.SIGALRM, too_long)
        for index in range(arguments.count):
            content, sealed = mutated(rng, files, model)
            signal.alarm(SECONDS)
            start = time.process_time()
            try:
                tally[outcome(content, sealed, model, originals)] += 1
            except Exception as error:
                print(f"seed {arguments.seed}, file {index}: {content.hex()}")
                print(f"{type(error).__name__}: {error}")
                return 1
            longest = max(longest, time.process_time() - start)
            signal.alarm(0)
            if sys.stderr.isatty() and index % 1000 == 0:
                print(f"\r{index:,}", end="", file=sys.stderr)
    print(f"seed {arguments.seed}, {arguments.count:,} files, {model.id}")
    print(f"the slowest took {longest:.2f} s of processor time")
    for reason, count in tally.most_common():
        print(f"{count:>9,} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
