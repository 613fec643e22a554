"""Files of version 2: blocks, names, damage, pipes, and what is the same everywhere."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from mutate import pieces, seal

from caebook import codec
from caebook.codec import CorruptFile, blocks, container

IMAGES = tiny.images(40)
NAMES = [f"digit {number}.png" for number in range(40)]
DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> codec.Model:
    """16 numbers of 4 bits. Tests must not change its folder."""
    return tiny.make_model(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def wanted(model) -> np.ndarray:
    return model.images(model.symbols(IMAGES))


def packed(model, coder="static", block=10, names=None) -> bytes:
    return b"".join(codec.compressed(IMAGES, model, coder, None, block, names))


class Pipe(io.RawIOBase):
    """Gives one to seven bytes at a time, and cannot seek."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        size = min(size, 1 + self.at % 7) if size >= 0 else len(self.content)
        part = self.content[self.at : self.at + size]
        self.at += len(part)
        return part


# --- blocks -----------------------------------------------------------------------


@pytest.mark.parametrize("coder", codec.CODERS)
@pytest.mark.parametrize("block", [1, 7, 40, 16_384])
def test_blocks_of_any_size_hold_the_same_images(model, wanted, coder, block):
    content = packed(model, coder, block, NAMES)
    assert (codec.decompress(content, model) == wanted).all()
    contents = codec.examine(io.BytesIO(content))
    counts = [min(block, 40 - start) for start in range(0, 40, block)]
    assert contents.counts == tuple(counts) and contents.count == 40
    assert contents.names == NAMES and not contents.damage
    assert contents.size == len(content)


@pytest.mark.parametrize("coder", codec.CODERS)
def test_each_block_can_be_decoded_without_the_others(model, wanted, coder):
    """The adaptive coder starts anew, so a reader may skip to any block."""
    found = []
    for start, end in reversed(pieces(content := packed(model, coder))):
        payload = content[start + 2 : end]
        assert content[start + 1] == len(payload) < 128
        count, stream = blocks.parse_images(payload)
        found.insert(0, model.images(model.coder(coder).decode(stream, count)))
    assert (np.concatenate(found) == wanted).all()


def test_a_pipe_is_read_forwards_and_images_come_early(model, wanted):
    content = packed(model, names=NAMES)
    pipe = Pipe(content)
    parts = codec.decompressed(pipe, model)
    first = next(parts)
    assert (first == wanted[:10]).all() and pipe.at < len(content) / 2
    assert (np.concatenate([first, *parts]) == wanted).all()
    assert codec.examine(Pipe(content)) == codec.examine(io.BytesIO(content))
    with pytest.raises(CorruptFile, match="version 1"):
        codec.examine(Pipe((DATA / "version-1-static.cae").read_bytes()))


def test_an_empty_last_block_ends_a_file(model, wanted):
    """For writers that learn too late that there is no more."""
    content = packed(model)
    last = pieces(content)[-1][0]
    content = content[:last] + bytes([content[last] & ~64]) + content[last + 1 :]
    with pytest.raises(CorruptFile, match="ends within or before block 5"):
        codec.decompress(seal(content), model)
    content = seal(content + bytes([64, 0, 0, 0, 0, 0]))
    assert (codec.decompress(content, model) == wanted).all()


def test_unknown_blocks_are_skipped_if_they_are_optional(model, wanted):
    writer = blocks.Writer()
    symbols = model.symbols(IMAGES)
    payload = blocks.pack_images(40, model.coder().encode(symbols))
    head = writer.header("static", model.digest)
    parts = [writer.block(60, bytes(3_000_000), optional=True)]
    parts += [writer.block(blocks.IMAGES, payload), writer.block(61, b"", True, True)]
    assert (codec.decompress(b"".join([head, *parts]), model) == wanted).all()
    writer = blocks.Writer()
    head = writer.header("static", model.digest)
    critical = head + writer.block(60, b"x") + writer.block(1, payload, True)
    with pytest.raises(CorruptFile, match="block 1 is of kind 60, which this program"):
        codec.decompress(critical, model)


def test_a_longer_header_is_read(model, wanted):
    content = packed(model)
    longer = content[:5] + bytes([9]) + content[6:11] + b"more" + content[11:]
    assert (codec.decompress(seal(longer), model) == wanted).all()


def test_the_default_model_needs_thirty_bytes_for_an_image(model):
    """11 of header, 3 and 4 of the block, and less than a byte of waste."""
    default = codec.find_model()
    with np.load(DATA / "version-1.npz") as file:
        images = file["images"]
    ideal = codec.ideal_bits(default.symbols(images), default.tables) / 8 / len(images)
    sizes = [len(codec.compress(images[i : i + 1], default)) for i in range(12)]
    assert np.mean(sizes) < 18 + ideal + 1
    assert max(sizes) <= 30


def test_large_files_name_their_model(model, monkeypatch):
    monkeypatch.setattr(container, "NAMED", 40)
    content = packed(model)
    assert codec.examine(io.BytesIO(content)).label == model.id
    monkeypatch.setattr(container, "NAMED", 41)
    assert len(packed(model)) < len(content)
    assert codec.examine(io.BytesIO(packed(model))).label == ""


def test_wrong_arguments_are_refused(model):
    for block in (0, 16_385):
        with pytest.raises(ValueError, match="block"):
            packed(model, block=block)
    for names, says in ((NAMES[:-1], "39 names"), ([*NAMES[:-1], "../x"], "hidden")):
        with pytest.raises(ValueError, match=says):
            packed(model, names=names)
    with pytest.raises(ValueError, match="static, adaptive"):
        next(codec.compressed(IMAGES, model, "best"))


# --- damage -----------------------------------------------------------------------


def varint_at(offset: int, value: bytes):
    return lambda content: seal(content[:offset] + value + content[offset + 1 :])


def without(index: int):
    """A block cut out, with its checksum."""

    def cut(content: bytes) -> bytes:
        start, end = pieces(content)[index]
        return content[:start] + content[end + 4 :]

    return cut


def exchanged(content: bytes) -> bytes:
    """The second and third block in the other order, with their checksums."""
    (_, first), (_, second), (_, third) = pieces(content)[:3]
    parts = [
        content[: first + 4],
        content[second + 4 : third + 4],
        content[first + 4 : second + 4],
    ]
    return b"".join(parts) + content[third + 4 :]


def patched(offset: int, value: int):
    return lambda content: content[:offset] + bytes([value]) + content[offset + 1 :]


DAMAGE = {
    "nothing": (lambda content: b"", "not a .cae file"),
    "text": (lambda content: b"GIF89a, or anything else", "not a .cae file"),
    "magic alone": (lambda content: content[:4], "within the header"),
    "half a header": (lambda content: content[:8], "within the header"),
    "header alone": (lambda content: content[:11], "within or before block 1"),
    "last byte": (lambda content: content[:-1], "within block 4"),
    "last block": (lambda content: content[: pieces(content)[-1][0]], "before block 4"),
    "more": (lambda content: content + b"\0", "more bytes after the last block"),
    "twice": (lambda content: content * 2, "more bytes after the last block"),
    "version": (patched(4, 3), "of version 3"),
    "short header": (patched(5, 4), "declares 4 bytes, too few"),
    "coder": (patched(6, 3), "unknown entropy coder 3"),
    "other coder": (patched(6, 2), "block 1 is damaged"),
    "other coder, sealed": (lambda c: seal(patched(6, 2)(c)), "stream"),
    "model": (patched(7, 0), "block 1 is damaged|written with"),
    "model, sealed": (lambda c: seal(c[:7] + bytes(4) + c[11:]), "written with the"),
    "flip": (lambda c: patched(20, c[20] ^ 1)(c), "block 1 is damaged"),
    "flip, sealed": (lambda c: seal(patched(20, c[20] ^ 1)(c)), "stream"),
    "no optional flag": (patched(11, 9), "block 1 is damaged"),
    "first block cut": (without(0), "block 1 is damaged"),
    "second block cut": (without(1), "block 2 is damaged"),
    "exchanged": (exchanged, "block 2 is damaged"),
    "long varint": (varint_at(12, b"\x80\x80\x80\x80\x80"), "invalid length"),
    "padded varint": (varint_at(12, b"\x81\x00"), "invalid number"),
    "large block": (varint_at(12, b"\xff\xff\xff\x7f"), "which is impossible"),
    "longer block": (varint_at(12, b"\x7f"), "damaged|truncated|impossible|is of kind"),
    "no images": (varint_at(13, b"\x00"), "declares 0 images"),
    "one image less": (varint_at(13, b"\x09"), "stream"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused_with_a_reason(model, name):
    damage, says = DAMAGE[name]
    content = damage(packed(model))
    with pytest.raises(CorruptFile, match=says):
        codec.decompress(content, model)
    with pytest.raises(CorruptFile):  # forwards, too
        list(codec.decompressed(Pipe(content), model))


@pytest.mark.parametrize("coder", codec.CODERS)
def test_blocks_before_the_damage_can_be_salvaged(model, wanted, coder):
    content = packed(model, coder, names=NAMES)
    ends = [end + 4 for start, end in pieces(content) if content[start] & 63 == 1]
    for at in range(11, len(content)):
        for damaged in (content[:at], patched(at, content[at] ^ 16)(content)):
            file = io.BytesIO(damaged)
            contents = codec.examine(file, salvage=True)
            sound = sum(end <= at for end in ends)
            assert contents.counts == (10,) * sound and contents.damage
            assert contents.names == (NAMES[: 10 * sound] if sound else None)
            file.seek(0)
            found = list(codec.decompressed(file, model, stop=sound))
            assert sum(map(len, found)) == 10 * sound
            if found:
                assert (np.concatenate(found) == wanted[: 10 * sound]).all()


def test_a_stream_that_is_not_the_models_ends_what_is_salvaged(model):
    content = packed(model)
    start, end = pieces(content)[2]
    content = seal(content[: start + 3] + bytes(end - start - 3) + content[end:])
    file = io.BytesIO(content)
    contents = codec.examine(file, salvage=True)
    assert contents.count == 40 and not contents.damage  # checksums fit
    sound = container.sound_streams(file, contents, model)
    assert sound.counts == (10, 10) and "stream" in sound.damage


def test_the_limit_holds_for_all_blocks_together(model):
    content = packed(model)
    with pytest.raises(CorruptFile, match="the limit is 39"):
        codec.decompress(content, model, max_images=39)
    found = []
    with pytest.raises(CorruptFile, match="the limit is 25"):
        found.extend(codec.decompressed(Pipe(content), model, max_images=25))
    assert sum(map(len, found)) == 20


def test_a_block_of_too_many_numbers_is_refused(tmp_path):
    """One level is nearly certain, so few bytes stand for many numbers."""
    run = tiny.write_run(tmp_path, side=14)  # 784 / 4 numbers
    tables = codec.frequencies(np.array([[1, 0]] * 196))
    model = codec.Model(run, codec.uniform(run.encode(IMAGES), 1), tables)
    most = (1 << 22) // 196 if (1 << 22) // 196 < 16_384 else 16_384
    assert container._most(196) == most
    assert container._most(1 << 23) == 1
    writer = blocks.Writer()
    content = writer.header("static", model.digest)
    stream = model.coder().encode(np.zeros((20, 196), np.uint8))
    content += writer.block(1, blocks.pack_images(16_384, stream), last=True)
    with pytest.raises(CorruptFile):
        codec.decompress(content, model)


# --- names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (blocks.pack_names(NAMES[:9]), "9 names for 10 images"),
        (blocks.pack_names([*NAMES[:9], "../x"]), "hidden"),
        (blocks.pack_names([*NAMES[:9], "a/x"]), "not allowed"),
        (blocks.pack_names([*NAMES[:9], NAMES[0].upper()]), "equal"),
        (b"no zlib stream", "damaged"),
        (blocks.pack_names(NAMES[:10])[:-1], "does not end"),
        (blocks.pack_names(NAMES[:10]) + b"x", "does not end"),
        (blocks.zlib.compress(bytes(9_000_000)), "does not end"),
        (blocks.zlib.compress(b"\xff\xfe"), "damaged"),
    ],
)
def test_names_that_cannot_be_used_leave_the_images(model, wanted, payload, says):
    writer = blocks.Writer()
    content = writer.header("static", model.digest)
    content += writer.block(blocks.NAMES, payload, optional=True)
    stream = model.coder().encode(model.symbols(IMAGES[:10]))
    content += writer.block(blocks.IMAGES, blocks.pack_images(10, stream), last=True)
    contents = codec.examine(io.BytesIO(content))
    assert contents.names is None and says in contents.problem
    assert (codec.decompress(content, model) == wanted[:10]).all()


def test_names_of_some_blocks_only_are_not_used(model):
    content = packed(model, names=NAMES)
    start, end = pieces(content)[2]
    contents = codec.examine(io.BytesIO(seal(content[:start] + content[end + 4 :])))
    assert contents.names is None and "0 names for 10" in contents.problem


# --- the same everywhere ----------------------------------------------------------


def test_decoding_is_the_same_with_any_number_of_threads(tmp_path):
    """With the package's model, whose pixels come from floats."""
    model = codec.find_model()
    with np.load(DATA / "version-1.npz") as file:
        images = np.tile(file["images"], (10, 1, 1))
    (tmp_path / "in.cae").write_bytes(codec.compress(images, model))
    code = (
        "import sys, pathlib, hashlib; from caebook import codec\n"
        "images = codec.decompress(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(images.shape, hashlib.sha256(images.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "in.cae")],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1 and "(120, 28, 28)" in found.pop()


@pytest.mark.parametrize("coder", codec.CODERS)
def test_decoding_is_the_same_in_batches_of_any_size(coder):
    model = codec.find_model()
    with np.load(DATA / "version-1.npz") as file:
        images = np.tile(file["images"], (10, 1, 1))
    once = codec.decompress(codec.compress(images, model, coder), model)
    symbols = model.symbols(images)
    for size in (1, 3, 50, 51, 120):
        parts = codec.compressed(images, model, coder, None, size)
        assert (codec.decompress(b"".join(parts), model) == once).all()
        batches = [model.images(symbols[i : i + size]) for i in range(0, 120, size)]
        assert (np.concatenate(batches) == once).all()
