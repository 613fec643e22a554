"""Other ways to store images, to compare autoencoders with.

Each is a small class with `encode` (images → bytes) and `decode` (those bytes and
nothing else → images):

- `general`: compressors that know nothing of images, and fewer grey levels;
- `contexts`: an adaptive coder that predicts each pixel from its neighbours;
- `formats`: PNG, JPEG, JPEG-LS, JPEG 2000, WebP, AVIF, JPEG XL;
- `transforms`: principal components and cosine transform, rounded and entropy coded;
- `vectors`: vector quantisers, k-means and its residual form;
- `networks`: autoencoders, as files or as records.

`base` holds what they share: how one is measured, and what its decoder costs.
"""

from caebook.rivals.base import (
    Point,
    Rival,
    break_even,
    front,
    measure,
    paired,
    stored,
)
from caebook.rivals.contexts import ContextCoder
from caebook.rivals.formats import ImageFormat, image_formats
from caebook.rivals.general import GreyLevels, Lossless, OneBit
from caebook.rivals.networks import Compact, Network, PackedNetwork, compact
from caebook.rivals.transforms import (
    CosineTransform,
    PackedComponents,
    PrincipalComponents,
)
from caebook.rivals.vectors import CodedVectors, VectorQuantiser

__all__ = [
    "CodedVectors",
    "Compact",
    "ContextCoder",
    "CosineTransform",
    "GreyLevels",
    "ImageFormat",
    "Lossless",
    "Network",
    "OneBit",
    "PackedComponents",
    "PackedNetwork",
    "Point",
    "PrincipalComponents",
    "Rival",
    "VectorQuantiser",
    "break_even",
    "compact",
    "front",
    "image_formats",
    "measure",
    "paired",
    "stored",
]
