"""The book's figures: one look, readable on a phone, safe for colour-blind readers."""

from caebook.plots.series import (
    FRAME,
    INK,
    KERAS,
    OTHERS,
    TORCH,
    WIDTH,
    Figure,
    curves,
    difference,
    feature_maps,
    histogram,
    points,
    rate_distortion,
    shapes,
    strip,
)

__all__ = [
    "FRAME",
    "INK",
    "KERAS",
    "OTHERS",
    "TORCH",
    "WIDTH",
    "Figure",
    "curves",
    "difference",
    "feature_maps",
    "histogram",
    "points",
    "rate_distortion",
    "shapes",
    "strip",
]
