"""The book's figures: one look, readable on a phone, safe for colour-blind readers.

Every function returns a `Figure` that pyplot does not know: a notebook shows it once,
as the value of a cell's last line, and its memory is freed with its name. Series are
typed (`Curve`, `Points`, `Sample`, `Rate`): a label is text and has no other meaning.
Captions and alternative texts belong to the notebook's cells.
"""

from caebook.plots.diagram import shapes
from caebook.plots.images import difference, feature_maps, strip
from caebook.plots.rates import Rate, rate_distortion
from caebook.plots.series import Curve, Points, Sample, curves, histogram, points
from caebook.plots.style import FRAME, INK, KERAS, OTHERS, TORCH, WIDTH, Figure

__all__ = [
    "FRAME",
    "INK",
    "KERAS",
    "OTHERS",
    "TORCH",
    "WIDTH",
    "Curve",
    "Figure",
    "Points",
    "Rate",
    "Sample",
    "curves",
    "difference",
    "feature_maps",
    "histogram",
    "points",
    "rate_distortion",
    "shapes",
    "strip",
]
