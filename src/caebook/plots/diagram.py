"""The diagram of a network: a box for each layer's feature maps."""

from collections.abc import Sequence

import matplotlib.axes
from matplotlib.patches import Polygon

from caebook.plots.style import DPI, INK, WIDTH, Figure, text_width

THICKEST = 256  # channels; more are drawn this thick, with a cut
LEAN = 0.18  # a map's width runs into depth, shortened by this factor
TALL = 1.1  # inches, the highest box
MARGIN = 0.06
# Front, top and side. The code differs in lightness and in its bold label too.
BLOCK_FACES = ("#C9DCEB", "#E4EEF6", "#9DBBD3")
CODE_FACES = ("#F0B95B", "#F8DDAE", "#C98A1B")


def shapes(
    blocks: Sequence[tuple[str, int, int, int]], code: int | None = None
) -> Figure:
    """Draw a network as boxes: as high as the feature maps, as thick as channels.

    Heights have one scale, thicknesses another. A box of more than 256 channels is
    drawn 256 thick, with two slashes across; a single channel is a sheet.

    Parameters
    ----------
    blocks
        ``(label, height, width, channels)`` from left to right. The shape is written
        below each box.
    code
        Index of the block that is the code, drawn in another colour; negative ones
        count from the end.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no block, a size is not positive, there are too many blocks for the
        page's width, or `code` is no index of a block.
    """
    if not blocks:
        raise ValueError("shapes: no blocks to draw")
    for label, *sizes in blocks:
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(f"shapes: block {label!r} has sizes {sizes}")
    if code is not None and not -len(blocks) <= code < len(blocks):
        raise ValueError(f"shapes: no block {code} among {len(blocks)}")
    return _draw_boxes(blocks, None if code is None else code % len(blocks))


def _draw_boxes(
    blocks: Sequence[tuple[str, int, int, int]], code: int | None
) -> Figure:
    """Draw the boxes side by side, in inches, with their labels below."""
    figure = Figure(figsize=(WIDTH, 1), layout="none")
    labels = [f"{label}\n{h}×{w}×{c}" for label, h, w, c in blocks]
    widths = [
        max(text_width(figure, line, 9) for line in label.split("\n")) / DPI
        for label in labels
    ]
    unit = TALL / max(height for _, height, _, _ in blocks)
    leans = [LEAN * width * unit for _, _, width, _ in blocks]
    channels = [min(count, THICKEST) for *_, count in blocks]
    inch_per_channel, texts, rotated = _fit_labels(widths, leans, channels)

    below = max(widths) + 0.05 if rotated else 0.36
    height = MARGIN + TALL + max(leans) + 0.06 + below + MARGIN
    figure.set_size_inches(WIDTH, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(-below - 0.06 - MARGIN, TALL + max(leans) + MARGIN))
    axes.set_axis_off()
    slots = _slots(inch_per_channel, texts, leans, channels)
    left = (WIDTH - sum(slots)) / 2
    for index, (slot, (_, rows, _, count)) in enumerate(
        zip(slots, blocks, strict=True)
    ):
        thick = max(inch_per_channel * channels[index], 0.02)
        start = left + (slot - thick - leans[index]) / 2
        faces = CODE_FACES if index == code else BLOCK_FACES
        _draw_box(axes, start, thick, rows * unit, leans[index], faces)
        if count > THICKEST:
            _draw_cut(axes, start + thick / 2, rows * unit)
        _draw_label(axes, left + slot / 2, labels[index], rotated, index == code)
        left += slot
    return figure


def _fit_labels(
    widths: Sequence[float], leans: Sequence[float], channels: Sequence[int]
) -> tuple[float, list[float], bool]:
    """Choose horizontal labels, or rotated ones if they leave the boxes too thin.

    Returns
    -------
    tuple[float, list[float], bool]
        Inches per channel, the width of each label in inches, and whether labels are
        rotated.

    Raises
    ------
    ValueError
        If the blocks do not fit even with rotated labels.
    """
    texts = [width + 0.08 for width in widths]
    inch_per_channel = _fit_thickness(texts, leans, channels)
    if inch_per_channel * max(channels) >= 0.3:
        return inch_per_channel, texts, False
    texts = [0.28] * len(widths)  # two lines of text
    inch_per_channel = _fit_thickness(texts, leans, channels)
    if not inch_per_channel:
        raise ValueError(
            f"shapes: {len(widths)} blocks do not fit the page; draw fewer"
        )
    return inch_per_channel, texts, True


def _slots(
    inch_per_channel: float,
    texts: Sequence[float],
    leans: Sequence[float],
    channels: Sequence[int],
) -> list[float]:
    """Return the width that each box takes with its label, in inches."""
    return [
        max(text, inch_per_channel * count + lean + 0.05)
        for text, lean, count in zip(texts, leans, channels, strict=True)
    ]


def _fit_thickness(
    texts: Sequence[float], leans: Sequence[float], channels: Sequence[int]
) -> float:
    """Return the most inches per channel with which all boxes fit; 0 if none fits."""
    low, high = 0.0, 0.8 / max(channels)
    for _ in range(30):
        middle = (low + high) / 2
        if sum(_slots(middle, texts, leans, channels)) <= WIDTH - 2 * MARGIN:
            low = middle
        else:
            high = middle
    return low


def _draw_box(
    axes: matplotlib.axes.Axes,
    left: float,
    thick: float,
    high: float,
    lean: float,
    faces: tuple[str, str, str],
) -> None:
    """Draw a box that stands on 0: its front, its top and its side."""
    right = left + thick
    front = [(left, 0), (right, 0), (right, high), (left, high)]
    top = [(left, high), (right, high), (right + lean, high + lean)]
    top.append((left + lean, high + lean))
    side = [(right, 0), (right + lean, lean), (right + lean, high + lean)]
    side.append((right, high))
    for corners, color in zip((front, top, side), faces, strict=True):
        axes.add_patch(Polygon(corners, facecolor=color, edgecolor=INK, linewidth=0.5))


def _draw_cut(axes: matplotlib.axes.Axes, middle: float, high: float) -> None:
    """Draw two slashes across a box that is drawn thinner than it is."""
    for offset in (-0.03, 0.03):
        across = (middle + offset - 0.03, middle + offset + 0.03)
        axes.plot(across, (-0.03, high + 0.03), color=INK, linewidth=0.8)


def _draw_label(
    axes: matplotlib.axes.Axes, middle: float, label: str, rotated: bool, bold: bool
) -> None:
    """Write a label below its box."""
    axes.text(
        middle,
        -0.06,
        label,
        rotation=90 if rotated else 0,
        ha="center",
        va="top",
        multialignment="right" if rotated else "center",
        linespacing=1,
        fontsize=9,
        fontweight="bold" if bold else "normal",
    )
