"""The codec: images → codes → indices of levels → bytes, and back.

An autoencoder turns an image into numbers, not bytes. Three steps are added here, each
in a module of its own:

- `quantise` rounds each number to one of a few levels;
- `entropy` turns the levels' indices into bytes, fewer for frequent ones, and `short`
  does so for a few;
- `model` joins a run, a quantiser and the entropy coder's tables, and `locate` finds
  models; `identity` gives them content addresses, and `fitting` makes them.

`container` writes and reads whole ``.cae`` files, `image_files` the images that go in
and come out. Their functions can be imported from here.
"""

from caebook.codec.container import (
    MAX_IMAGES,
    Contents,
    compress,
    compressed,
    decompress,
    decompressed,
    examine,
)
from caebook.codec.entropy import (
    CODERS,
    AdaptiveCoder,
    StaticCoder,
    count_levels,
    frequencies,
    ideal_bits,
)
from caebook.codec.fitting import fit, package
from caebook.codec.locate import DEFAULT_MODEL, find_model, list_models
from caebook.codec.model import Model, read_run
from caebook.codec.quantise import QUANTISERS, Quantiser, lloyd_max, uniform
from caebook.errors import CodecError, CorruptFile

__all__ = [
    "CODERS",
    "DEFAULT_MODEL",
    "MAX_IMAGES",
    "QUANTISERS",
    "AdaptiveCoder",
    "CodecError",
    "Contents",
    "CorruptFile",
    "Model",
    "Quantiser",
    "StaticCoder",
    "compress",
    "compressed",
    "count_levels",
    "decompress",
    "decompressed",
    "examine",
    "find_model",
    "fit",
    "frequencies",
    "ideal_bits",
    "list_models",
    "lloyd_max",
    "package",
    "read_run",
    "uniform",
]
