"""A decoder written from `book/format.md` alone reads the files.

`decode` uses neither `caebook` nor NumPy, and only simple Python, so it is also an
example for other languages.
"""

import hashlib
import json
import struct
import zlib

import numpy as np
import pytest
import tiny

from caebook import codec

# --- a decoder in plain Python ----------------------------------------------------


def decode(content: bytes, tables: list[list[int]]) -> list[list[int]]:
    """Indices of each image's levels, from a file and its model's tables."""
    assert zlib.crc32(content[:-4]) == struct.unpack("<I", content[-4:])[0]
    header = struct.unpack_from("<4s6BHIHHI8s", content)
    magic, version, _, bits, coder, precision, name, unused, images = header[:9]
    height, width, n, _ = header[9:]
    assert (magic, version, precision, unused) == (b"\x89CAE", 1, 16, 0)
    assert (height, width) == (28, 28)
    assert len(tables) == n and all(len(row) == 2**bits for row in tables)
    counts = [list(row) for row in tables]
    position, decoded = 32 + name, []
    while images:
        block = min(images, max(1, min(16384, 2**22 // n)))
        (length,) = struct.unpack_from("<I", content, position)
        stream = Stream(content[position + 4 : position + 4 + length], block * n)
        if coder == 1:
            decoded += stream.read(block, tables)
        else:
            decoded += adaptive(stream, block, counts)
        stream.finish()
        position, images = position + 4 + length, images - block
    assert position == len(content) - 4
    return decoded


class Stream:
    def __init__(self, stream: bytes, indices: int) -> None:
        lanes = max(1, min(256, indices // 4096))
        self.states = list(struct.unpack_from(f"<{lanes}I", stream))
        words = stream[4 * lanes :]
        self.words = iter(struct.unpack(f"<{len(words) // 2}H", words))

    def read(self, images: int, tables: list[list[int]]) -> list[list[int]]:
        n, lanes = len(tables), len(self.states)
        indices = []
        for start in range(0, images * n, lanes):
            step = range(min(lanes, images * n - start))
            for lane in step:
                state = self.states[lane]
                slot, before, index = state % 2**16, 0, 0
                frequencies = tables[(start + lane) % n]
                while before + frequencies[index] <= slot:
                    before += frequencies[index]
                    index += 1
                indices.append(index)
                self.states[lane] = frequencies[index] * (state >> 16) + slot - before
            for lane in step:
                if self.states[lane] < 2**16:
                    self.states[lane] = self.states[lane] << 16 | next(self.words)
        return [indices[at : at + n] for at in range(0, len(indices), n)]

    def finish(self) -> None:
        assert set(self.states) == {2**16} and not list(self.words)


def adaptive(stream: Stream, images: int, counts: list[list[int]]) -> list[list[int]]:
    decoded, group = [], 1
    while len(decoded) < images:
        size = min(group, images - len(decoded))
        for image in stream.read(size, [table(row) for row in counts]):
            for row, index in zip(counts, image, strict=True):
                row[index] += 1024
            decoded.append(image)
        group = min(2 * group, 256)
    return decoded


def table(counts: list[int]) -> list[int]:
    total, levels = sum(counts), len(counts)
    made = [1 + count * (2**16 - levels) // total for count in counts]
    made[made.index(max(made))] += 2**16 - sum(made)
    return made


# --- its results ------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> codec.Model:
    return tiny.make_model(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("coder", codec.CODERS)
@pytest.mark.parametrize("count", [1, 3, 700, 16_384 + 300])  # the last takes 2 blocks
def test_the_decoder_from_the_page_finds_the_same_indices(model, coder, count):
    images = tiny.images(count)
    content = codec.compress(images, model, coder)
    with np.load(model.run.folder / "codec-lloyd-max4.npz") as file:
        tables = file["tables"].tolist()
    symbols = model.symbols(images)
    assert decode(content, tables) == symbols.tolist()
    assert (codec.decompress(content, model) == model.images(symbols)).all()


def test_pixels_and_checksum_are_computed_as_the_page_says(model):
    images = tiny.images(20)
    content = codec.compress(images, model)
    folder = model.run.folder
    with np.load(folder / "codec-lloyd-max4.npz") as file:
        levels, tables, about = file["levels"], file["tables"], str(file["about"])
    indices = np.array(decode(content, tables.tolist()))
    pixels = model.run.decode(levels[indices].reshape(-1, 4, 4, 1))
    wanted = np.rint(255 * np.clip(pixels, 0, 1))
    assert np.array_equal(codec.decompress(content, model), wanted)

    digest = hashlib.sha256(b"caebook codec 1 [4, 4, 1]")
    digest.update(levels.astype("<f4").tobytes())
    digest.update(tables.astype("<u2").tobytes())
    digest.update((folder / "decoder.onnx").read_bytes())
    assert json.loads(about)["checksum"] == digest.hexdigest()
    assert content[24:32] == digest.digest()[:8]
