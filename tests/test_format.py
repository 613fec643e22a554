"""A decoder written from `book/format.md` alone reads the files.

`decode` uses neither `caebook` nor NumPy, and only simple Python, so it is also an
example for other languages.
"""

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import version1
from onnx import numpy_helper

from caebook import codec

DATA = Path(__file__).with_name("data")

# --- a decoder in plain Python ----------------------------------------------------


def decode(content: bytes, tables: list[list[int]]) -> list[list[int]]:
    """Indices of each image's levels, from a file and its model's tables."""
    assert content[:4] == b"\x89CAE"
    if content[4] == 1:
        return decode_1(content, tables)
    assert content[4] == 2 and content[5] >= 5
    decoded = []
    for kind, payload in blocks(content, 6 + content[5]):
        if kind == 1:
            count, at = varint(payload, 0)
            n = len(tables)
            assert 1 <= count <= max(1, min(16384, 2**22 // n))
            stream = payload[at:]
            short = count * n < 8192
            reader = Short(stream) if short else Lanes(stream, count * n)
            if content[6] == 1:
                decoded += reader.read(count, tables)
            else:
                decoded += adaptive(reader, count, [list(row) for row in tables])
            reader.finish()
    return decoded


def blocks(content: bytes, position: int) -> list[tuple[int, bytes]]:
    """Kind and payload of each block."""
    covered, found, last = content[:position], [], False
    while not last:
        kind, last = content[position] & 63, bool(content[position] & 64)
        optional = bool(content[position] & 128)
        length, at = varint(content, position + 1)
        payload = content[at : at + length]
        covered += content[position : at + length]
        position = at + length + 4
        stored = content[at + length : position]
        assert zlib.crc32(covered) == int.from_bytes(stored, "little")
        assert kind <= 3 or optional
        found.append((kind, payload))
    assert position == len(content)
    return found


def varint(content: bytes, position: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = digits = 0
    while True:
        byte = content[position]
        number += (byte & 127) * 128**digits
        digits, position = digits + 1, position + 1
        if byte < 128:
            return number, position


class Short:
    def __init__(self, stream: bytes) -> None:
        self.stream, self.m, self.w, self.v = stream, 0, 2**32, 0
        for _ in range(4):
            self.next_byte()

    def next_byte(self) -> None:
        byte = self.stream[self.m] if self.m < len(self.stream) else 0
        self.v, self.m = self.v * 256 + byte, self.m + 1

    def read(self, images: int, tables: list[list[int]]) -> list[list[int]]:
        return [[self.index(row) for row in tables] for _ in range(images)]

    def index(self, frequencies: list[int]) -> int:
        r = self.w // 2**16
        s, before, index = self.v // r, 0, 0
        assert s < 2**16
        while before + frequencies[index] <= s:
            before += frequencies[index]
            index += 1
        self.v, self.w = self.v - r * before, r * frequencies[index]
        while self.w < 2**24:
            self.w *= 256
            self.next_byte()
        return index

    def finish(self) -> None:
        """The stream is the one with the fewest bytes in its interval."""
        assert len(self.stream) <= self.m
        z = int.from_bytes(self.stream + bytes(self.m - len(self.stream)), "big")
        low = z - self.v
        for size in range(self.m + 1):
            unit = 256 ** (self.m - size)
            smallest = (low + unit - 1) // unit
            if smallest * unit < low + self.w:
                assert self.stream == smallest.to_bytes(size, "big")
                return


class Lanes:
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


def adaptive(
    reader: Short | Lanes, images: int, counts: list[list[int]]
) -> list[list[int]]:
    decoded, group = [], 1
    while len(decoded) < images:
        size = min(group, images - len(decoded))
        for image in reader.read(size, [table(row) for row in counts]):
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


def decode_1(content: bytes, tables: list[list[int]]) -> list[list[int]]:
    """Version 1."""
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
        reader = Lanes(content[position + 4 : position + 4 + length], block * n)
        if coder == 1:
            decoded += reader.read(block, tables)
        else:
            decoded += adaptive(reader, block, counts)
        reader.finish()
        position, images = position + 4 + length, images - block
    assert position == len(content) - 4
    return decoded


# --- its results ------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> codec.Model:
    return tiny.make_model(tmp_path_factory.mktemp("runs"))


def stored(model: codec.Model) -> dict[str, np.ndarray]:
    """The arrays in the model's file."""
    (path,) = model.run.folder.glob("codec-lloyd-max4-*.npz")
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("coder", codec.CODERS)
@pytest.mark.parametrize("count", [1, 3, 511, 700, 16_384 + 300])
def test_the_decoder_from_the_page_finds_the_same_indices(model, coder, count):
    """511 images are the most in a short stream; the last number takes two blocks."""
    images = tiny.images(count)
    content = codec.compress(images, model, coder)
    symbols = model.symbols(images)
    assert decode(content, stored(model)["tables"].tolist()) == symbols.tolist()
    assert (codec.decompress(content, model) == model.images(symbols)).all()


@pytest.mark.parametrize("coder", codec.CODERS)
def test_the_decoder_from_the_page_reads_small_blocks_with_names(model, coder):
    images, names = tiny.images(25), [f"digit {number}.png" for number in range(25)]
    content = b"".join(codec.compressed(images, model, coder, None, 10, names))
    found = decode(content, model.tables.tolist())
    assert found == model.symbols(images).tolist()
    listed = [zlib.decompress(p).decode() for k, p in blocks(content, 11) if k == 2]
    assert "\n".join(listed).split("\n") == names


@pytest.mark.parametrize("coder", codec.CODERS)
@pytest.mark.parametrize("count", [1, 40, 16_384 + 300])
def test_the_decoder_from_the_page_reads_version_1(model, coder, count):
    images = tiny.images(count)
    content = version1.compress(images, model, coder)
    symbols = model.symbols(images)
    assert decode(content, model.tables.tolist()) == symbols.tolist()
    assert (codec.decompress(content, model) == model.images(symbols)).all()


def test_pixels_and_ids_are_computed_as_the_page_says(model):
    images, folder, content = tiny.images(20), model.run.folder, stored(model)
    file = codec.compress(images, model)
    levels, tables = content["levels"], content["tables"]
    indices = np.array(decode(file, tables.tolist()))
    pixels = model.run.decode(levels[indices].reshape(-1, 4, 4, 1))
    wanted = np.rint(255 * np.clip(pixels, 0, 1))
    assert np.array_equal(codec.decompress(file, model), wanted)
    assert (model.images(content["test_symbols"]) == content["test_images"]).all()

    about = json.loads(str(content["about"]))
    decoder = (folder / "decoder.onnx").read_bytes()
    assert about["decoder"] == hashlib.sha256(decoder).hexdigest()
    numbers = [levels.astype("<f4").tobytes(), tables.astype("<u2").tobytes()]
    old = b"".join([b"caebook codec 1 [4, 4, 1]", *numbers, decoder])
    assert about["checksum"] == hashlib.sha256(old).hexdigest()

    graph = onnx.load_from_string(decoder).graph
    scales = {name for node in graph.node if node.op_type == "Resize"
              for name in node.input}  # fmt: skip
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weights = b""
    for shape, values in sorted(
        (list(array.shape), array.astype("<f4").tobytes())
        for name, array in arrays.items()
        if array.dtype == np.float32 and name not in scales
    ):
        weights += str(shape).encode() + values
    assert weights.startswith(b"[1, 1, 3, 3]")
    digest = hashlib.sha256(weights).digest()
    assert about["weights"] == digest.hex()
    new = b"".join([b"caebook model 2 [4, 4, 1]", *numbers, digest])
    identity = hashlib.sha256(new).hexdigest()
    assert about["id"] == identity
    assert file[7:11].hex() == identity[:8]
    assert (folder / f"codec-lloyd-max4-{identity[:8]}.npz").exists()


@pytest.mark.parametrize("name", ["static", "adaptive"])
def test_a_file_of_version_1_has_the_indices_that_were_recorded(name):
    """Twelve drawn digits, compressed by the last program that wrote version 1."""
    with np.load(DATA / "version-1.npz") as file:
        symbols, images = file["symbols"], file["images"]
    content = (DATA / f"version-1-{name}.cae").read_bytes()
    tables = codec.find_model().tables.tolist()
    assert decode(content, tables) == symbols.tolist()
    found = codec.decompress(content).astype(int)
    assert np.abs(found - images).max() <= 1  # as processors add floats
