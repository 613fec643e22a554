"""Files of version 1, which `caebook` reads but does not write any more."""

import struct
import zlib

import numpy as np

from caebook import codec

_CODERS = {"static": 1, "adaptive": 2}
_QUANTISERS = {"uniform": 1, "lloyd-max": 2}


def seal(content: bytes) -> bytes:
    """Recompute the checksum at the end."""
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def compress(images: np.ndarray, model: codec.Model, coder: str = "static") -> bytes:
    """The bytes of a file of version 1."""
    return pack(model.symbols(images), model, coder)


def pack(symbols: np.ndarray, model: codec.Model, coder: str = "static") -> bytes:
    """The bytes of a file of version 1, from levels' indices (N, n)."""
    content = struct.pack(
        "<4s6B2xI2HI8s",
        *(b"\x89CAE", 1, _QUANTISERS[model.quantiser.kind], model.quantiser.bits),
        *(_CODERS[coder], 16, len(model.id), len(symbols), 28, 28, model.numbers),
        model.checksum[:8],
    )
    content += model.id.encode()
    size = max(1, min(16_384, (1 << 22) // model.numbers))
    entropy_coder = model.coder(coder, version=1)
    for start in range(0, len(symbols), size):
        stream = entropy_coder.encode(symbols[start : start + size])
        content += struct.pack("<I", len(stream)) + stream
    return seal(content + bytes(4))
