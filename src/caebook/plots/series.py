"""The book's figures: one look, readable on a phone, safe for colour-blind readers.

Importing this module sets Matplotlib's defaults to the book's look. Every function
returns a `Figure` that Matplotlib's pyplot knows nothing of: a notebook shows it once,
as the value of a cell's last line, and it goes when its name goes. Captions and alt
texts belong to the notebook's cells.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from caebook.images import to_uint8

__all__ = [
    "KERAS",
    "TORCH",
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

# Okabe & Ito's colours, told apart with any colour vision. A framework keeps its own
# throughout the book, and its own marker too, so that nothing hangs on colour alone.
KERAS = "#0072B2"
TORCH = "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
INK = "#222222"
FRAME = "#999999"

WIDTH = 4.4  # inches; a column of the page, so text shrinks to 9 px on a phone
PAGE_DPI = 160  # CSS pixels to the inch where the figure fills its column
DPI = 2 * PAGE_DPI  # two pixels of the picture to one of the page

LOOK = {
    "figure.dpi": DPI,
    "savefig.dpi": "figure",
    "figure.figsize": (WIDTH, 2.9),
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "axes.prop_cycle": matplotlib.cycler(color=[KERAS, TORCH, *OTHERS]),
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}
matplotlib.rcParams.update(LOOK)


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows by itself, whether pyplot was imported or not.

    IPython learns to show Matplotlib's own figures only when pyplot is imported, and
    pyplot's figures are shown at the end of a cell even without being asked for.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        # Only the width: with a height too, a narrow page would squash the picture.
        return picture.getvalue(), {"width": round(self.get_figwidth() * PAGE_DPI)}


def strip(
    rows: Mapping[str, np.ndarray], columns: Sequence[str] | None = None
) -> Figure:
    """Show rows of small images, one row for each key, as they are stored: 0 is black.

    Parameters
    ----------
    rows
        Row label → images ``(n, height, width)``: uint8 drawn from 0 to 255, floats
        from 0 to 1 (as `caebook.images.to_uint8` decodes them). All rows hold the
        same number of images; their sizes may differ from row to row.
    columns
        A short label for each column, above it.

    Returns
    -------
    Figure
        Each stored pixel is a whole number of the picture's pixels wide.

    Raises
    ------
    TypeError
        If a row is neither uint8 nor floats.
    ValueError
        If there is no row, a row has another shape or count or holds NaN, the labels
        do not match the columns, or there are too many columns for a page's width.
    """
    if not rows:
        raise ValueError("strip: no rows to show")
    for label, images in rows.items():
        _check_pictures(images, f"strip: row {label!r}")
    counts = {label: len(images) for label, images in rows.items()}
    count = next(iter(counts.values()))
    if set(counts.values()) != {count}:
        raise ValueError(f"strip: rows of different lengths: {counts}")
    if columns is not None and len(columns) != count:
        raise ValueError(f"strip: {len(columns)} labels for {count} columns")

    # Laid out in pixels of the picture, so that no stored pixel is drawn wider or
    # narrower than its neighbour.
    figure = Figure(figsize=(WIDTH, 1), layout="none")
    page, letter = round(WIDTH * DPI), 9.5 * DPI / 72
    gap = 8 if count <= 12 else 4
    left = max(_text_width(figure, label) for label in rows) + 3 * gap
    side = max(images.shape[2] for images in rows.values())
    zoom = min((page - left - gap) // count - gap, 7 * DPI // 10) // side
    if zoom * side < letter:  # lower than the label of its row
        raise ValueError(f"strip: {count} columns do not fit the page; show fewer")
    cell = zoom * side + gap
    left += (page - left - count * cell) // 2  # what is left over goes to both sides
    heights = [
        round(zoom * side * images.shape[1] / images.shape[2]) + gap
        for images in rows.values()
    ]
    top = round(1.4 * letter) if columns is not None else 0
    height = top + sum(heights) + gap
    figure.set_size_inches(WIDTH, height / DPI)
    axes = _pixel_canvas(figure, page, height)
    if columns is not None:
        for index, label in enumerate(columns):
            middle = left + index * cell + (cell - gap) / 2
            axes.text(middle, top / 2, label, ha="center", va="center")
    upper = top + gap
    for row_height, (label, images) in zip(heights, rows.items(), strict=True):
        lower = upper + row_height - gap
        axes.text(left - 2 * gap, (upper + lower) / 2, label, ha="right", va="center")
        for index, image in enumerate(images):
            start = left + index * cell
            box = (start, start + cell - gap, lower, upper)
            # As colours: a colour map would put some levels one off.
            levels = image if image.dtype == np.uint8 else to_uint8(image)
            axes.imshow(np.stack([levels] * 3, axis=-1), extent=box, aspect="auto")
            _draw_frame(axes, box)
        upper += row_height
    axes.set(xlim=(0, page), ylim=(height, 0))
    return figure


def curves(
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    reference: Mapping[str, float] | None = None,
    log: bool = False,
) -> Figure:
    """Draw series of values over 1, 2, 3, …, say losses over epochs.

    A label that names Keras or PyTorch gets that framework's colour and marker; one
    that speaks of validation gets a dashed line and hollow markers.

    Parameters
    ----------
    series
        Label → values; lengths may differ, and NaN leaves a gap.
    xlabel, ylabel
        What is counted and what is measured, with its unit.
    reference
        Label → value to compare with, each a horizontal grey line.
    log
        Logarithmic vertical axis.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no series, one is empty or not one-dimensional, or a logarithmic
        axis would have to show a value that is not positive.
    """
    values = {label: np.asarray(given, float) for label, given in series.items()}
    levels = dict(reference or {})
    _check_series(values, "curves")
    if log:
        for label, given in {**values, **levels}.items():
            if np.min(given) <= 0:
                raise ValueError(
                    f"curves: {label!r} reaches {np.min(given):.4g}; a logarithmic "
                    "axis shows positive values only: use log=False"
                )
    figure = Figure()
    axes = figure.add_subplot()
    for style, (label, given) in zip(_styles(values), values.items(), strict=True):
        axes.plot(
            np.arange(1, len(given) + 1),
            given,
            label=label,
            color=style.color,
            linestyle=style.dashes,
            marker=style.marker,
            markerfacecolor="white" if style.hollow else style.color,
            markevery=max(1, len(given) // 10),
        )
    _draw_levels(axes, levels)
    longest = max(len(given) for given in values.values())
    margin = max(0.5, longest / 40)
    axes.set_xlim(1 - margin, longest + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if log:
        _set_log_scale(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _add_legend(figure, axes)
    return figure


def points(
    series: Mapping[str, tuple[np.ndarray, ...]],
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    connect: bool = True,
    reference: Mapping[str, float] | None = None,
) -> Figure:
    """Draw measurements against what was varied, with error bars where given.

    Parameters
    ----------
    series
        Label → ``(x, y)`` or ``(x, y, low, high)``, each ``(n,)`` and finite. Error
        bars reach from `low` to `high`, on the scale of `y`. A label that names Keras
        or PyTorch gets that framework's colour.
    xlabel, ylabel
        What was varied and what was measured, each with its unit.
    log_x, log_y
        Logarithmic axes. A few well-spaced values of x become the ticks themselves.
    connect
        Join the points of a series by lines, in the order of x.
    reference
        Label → value of y to compare with, each a horizontal grey line.

    Returns
    -------
    Figure
        As much higher than others as a long legend needs.

    Raises
    ------
    ValueError
        If there is no series, one is not two or four equally long rows of finite
        numbers, a value lies outside its error bar, or a logarithmic axis would have
        to show a value that is not positive.
    """
    if not series:
        raise ValueError("points: no series to draw")
    values = {
        label: _check_points(label, given, log_x, log_y)
        for label, given in series.items()
    }
    levels = dict(reference or {})
    for label, level in levels.items():
        _check_points(label, ([1], [level]), False, log_y)
    figure = Figure()
    axes = figure.add_subplot()
    for style, (label, given) in zip(_styles(values), values.items(), strict=True):
        x, y, *bounds = (row[np.argsort(given[0], kind="stable")] for row in given)
        axes.errorbar(
            x,
            y,
            yerr=[y - bounds[0], bounds[1] - y] if bounds else None,
            label=label,
            color=style.color,
            linestyle=style.dashes if connect else "none",
            marker=style.marker,
            markerfacecolor="white" if style.hollow else style.color,
            capsize=3,
            elinewidth=1.2,
        )
    _draw_levels(axes, levels)
    if log_x:
        _set_log_scale(axes, "x")
        _set_ticks_at(axes, np.unique(np.concatenate([g[0] for g in values.values()])))
    if log_y:
        _set_log_scale(axes, "y")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _add_legend(figure, axes)
    return figure


def rate_distortion(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ylabel: str,
    *,
    limit: float | None = None,
    front: tuple[np.ndarray, np.ndarray] | None = None,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the quality of codecs against the bytes that they take for an image.

    A label that ends in “, Keras” or “, PyTorch” gets the framework's colour, and the
    marker of what comes before, in both. One that ends in “, ideal” gets the look of
    what comes before, but hollow: it has no bytes that anybody could store.

    Parameters
    ----------
    series
        Label → ``(bytes, quality)``, each ``(n,)`` and finite, bytes above 0. They are
        joined in the order of bytes.
    ylabel
        What the quality is, with its unit.
    limit
        Where the axis of bytes ends, which then is a linear one from 0; a series that
        lies beyond is left out. Otherwise the axis is logarithmic and shows all.
    front
        ``(bytes, quality)`` of the best there is, drawn as a broad grey line: what can
        be had for so many bytes or fewer.
    levels
        Label → bytes to compare with, each a vertical grey line, or an arrow at the
        edge if it lies beyond the limit.

    Returns
    -------
    Figure
        As much higher than others as its legend needs.

    Raises
    ------
    ValueError
        If there is no series (within the limit), or one is not two equally long rows
        of finite numbers with bytes above 0.
    """
    values = {
        label: _check_points(label, given, log_x=False, log_y=False)
        for label, given in {**series, "front": front or ([1], [0])}.items()
    }
    best = values.pop("front")
    if any(len(rows) != 2 for rows in values.values()):
        raise ValueError("rate_distortion: a series is (bytes, quality), no more")
    for label, (x, _) in values.items():
        if x.min() <= 0:
            raise ValueError(f"rate_distortion: {label!r} takes {x.min():.4g} bytes")
    looks = _subject_looks(values)  # of all, so that a look does not hang on the limit
    if limit is not None:
        values = {label: g for label, g in values.items() if g[0].min() <= limit}
    if not values:
        raise ValueError("rate_distortion: no series to draw")
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.add_subplot()
    for label, (x, y) in values.items():
        color, marker, hollow = looks[label]
        order = np.argsort(x, kind="stable")
        axes.plot(
            x[order],
            y[order],
            color=color,
            marker=marker,
            markerfacecolor="white" if hollow else color,
            linestyle=":" if hollow else "-",
            linewidth=1.1,
            zorder=3,
        )
    if limit is None:
        _set_log_scale(axes, "x")
    else:
        _show_up_to(
            axes, limit, np.concatenate([np.stack(g) for g in values.values()], 1)
        )
    if front is not None:
        order = np.argsort(best[0], kind="stable")
        right = axes.get_xlim()[1]
        axes.plot(
            [*best[0][order], right],
            [*best[1][order], best[1][order][-1]],
            color="#CCCCCC",
            linewidth=5,
            drawstyle="steps-post",
            solid_capstyle="butt",
            zorder=1,
            scalex=False,
            scaley=False,
        )
    _draw_sizes(axes, dict(levels or {}), limit)
    axes.set(xlabel="bytes per image", ylabel=ylabel)
    _add_subject_legend(figure, {n: looks[n] for n in values}, front is not None)
    return figure


def histogram(
    series: Mapping[str, np.ndarray],
    xlabel: str,
    ylabel: str = "images",
    bins: int = 40,
    log: bool = False,
) -> Figure:
    """Draw how values are distributed, one outline for each series.

    Parameters
    ----------
    series
        Label → finite values, ``(n,)``. All share the same bins.
    xlabel
        What the values are, with their unit.
    ylabel
        What is counted.
    bins
        How many bins between the smallest and the largest value.
    log
        Logarithmic counts, for when one bin holds nearly everything.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no series, or one is empty, not one-dimensional or not finite.
    """
    values = {label: np.asarray(given) for label, given in series.items()}
    _check_series(values, "histogram")
    for label, given in values.items():
        if not np.isfinite(given).all():
            raise ValueError(f"histogram: {label!r} holds NaN or infinite values")
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins)
    styles = _styles(values)
    figure = Figure()
    axes = figure.add_subplot()
    for index, (label, given) in enumerate(values.items()):
        counts, _ = np.histogram(given, edges)
        axes.stairs(
            counts,
            edges,
            label=label,
            color=styles[index].color,
            linestyle=DASHES[index % len(DASHES)],  # there are no markers to tell
            linewidth=1.6,
            baseline=None if log else 0,
        )
    if log:
        _set_log_scale(axes)
        axes.set_ylim(bottom=0.8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(values) > 1:
        _add_legend(figure, axes)
    return figure


def feature_maps(maps: np.ndarray, columns: int = 8) -> Figure:
    """Show every channel of one feature map, all on one scale.

    Parameters
    ----------
    maps
        Numbers ``(height, width, channels)``, channels last.
    columns
        Channels side by side.

    Returns
    -------
    Figure
        With a bar that says what the colours mean.

    Raises
    ------
    ValueError
        If the shape is another, `columns` is not positive or a value is not finite.
    """
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(
            f"feature_maps: shape {maps.shape}; one image's maps (height, width, "
            "channels) are needed: take one with maps[0]; PyTorch's channels go last "
            "with np.moveaxis(maps, 0, -1)"
        )
    if columns < 1:
        raise ValueError(f"feature_maps: {columns} columns; at least one is needed")
    if not np.isfinite(maps).all():
        raise ValueError("feature_maps: some values are NaN or infinite")
    # 0 is always on the scale, so that a channel that never fires looks dark.
    low, high = min(0.0, float(maps.min())), max(0.0, float(maps.max()))
    scale = Normalize(low, high if high > low else low + 1)
    return _grid(np.moveaxis(maps, -1, 0), columns, "viridis", scale, "activation")


def difference(
    reference: np.ndarray, test: np.ndarray, limit: float | None = None
) -> Figure:
    """Show `test` minus `reference`: red where too bright, blue where too dark.

    Parameters
    ----------
    reference, test
        Images ``(n, height, width)`` or ``(height, width)``, each uint8 or floats in
        [0, 1].
    limit
        Where the colours end, as a part of the way from black to white; the largest
        difference unless given. Give one to compare figures.

    Returns
    -------
    Figure

    Raises
    ------
    TypeError
        If an image is neither uint8 nor floats.
    ValueError
        If the shapes differ or are not images', or `limit` is not positive.
    """
    pair = []
    for name, images in (("reference", reference), ("test", test)):
        stack = images[None] if np.ndim(images) == 2 else images
        _check_pictures(stack, f"difference: {name}")
        pair.append(stack / 255 if stack.dtype == np.uint8 else stack)
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"difference: shapes {np.shape(reference)} and {np.shape(test)} differ"
        )
    if limit is not None and not limit > 0:
        raise ValueError(f"difference: limit {limit} is not positive")
    error = pair[1] - pair[0]
    end = limit or float(np.abs(error).max()) or 1.0
    columns = min(len(error), 10)
    return _grid(error, columns, "RdBu_r", Normalize(-end, end), "copy − original")


def shapes(
    blocks: Sequence[tuple[str, int, int, int]], code: int | None = None
) -> Figure:
    """Draw a network as boxes: as high as the feature maps, as thick as channels.

    Heights are to one scale, thicknesses to another. A box of more than 256 channels
    is drawn 256 thick and cut by two slashes; a single channel is a sheet.

    Parameters
    ----------
    blocks
        ``(label, height, width, channels)`` from left to right. The shape is written
        to each box.
    code
        Index of the block that is the code, to be set off; negative ones count from
        the end.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no block, a size is not positive, or `code` names no block.
    """
    if not blocks:
        raise ValueError("shapes: no blocks to draw")
    for label, *sizes in blocks:
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(f"shapes: block {label!r} has sizes {sizes}")
    if code is not None and not -len(blocks) <= code < len(blocks):
        raise ValueError(f"shapes: no block {code} among {len(blocks)}")
    return _draw_boxes(blocks, None if code is None else code % len(blocks))


# --- checks -------------------------------------------------------------------------


def _check_pictures(images: np.ndarray, what: str) -> None:
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{what}: a NumPy array is needed, not {type(images).__name__}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            f"{what}: uint8 (0 to 255) or floats (0 to 1) are needed, not "
            f"{images.dtype}"
        )
    if images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"{what}: shape {images.shape}; pictures (n, height, width) are needed: "
            "one picture becomes a row with image[None], a channel axis goes with "
            "images[..., 0]"
        )


def _check_series(series: Mapping[str, np.ndarray], what: str) -> None:
    if not series:
        raise ValueError(f"{what}: no series to draw")
    for label, values in series.items():
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(
                f"{what}: {label!r} has shape {values.shape}; one row of values, "
                "at least one long, is needed"
            )


def _check_points(
    label: str, given: tuple[np.ndarray, ...], log_x: bool, log_y: bool
) -> list[np.ndarray]:
    """The rows of a series of `points` as floats: x and y, or those and two bounds."""
    rows = [np.asarray(row, float) for row in given]
    if len(rows) not in (2, 4):
        raise ValueError(
            f"points: {label!r} has {len(rows)} rows; (x, y) or (x, y, low, high) are "
            "needed"
        )
    names = ("x", "y", "low", "high")[: len(rows)]
    for name, row in zip(names, rows, strict=True):
        if row.ndim != 1 or len(row) == 0 or len(row) != len(rows[0]):
            raise ValueError(
                f"points: {name} of {label!r} has shape {row.shape}; as many numbers "
                f"as x (shape {rows[0].shape}), at least one, are needed"
            )
        if not np.isfinite(row).all():
            raise ValueError(f"points: {name} of {label!r} holds NaN or infinite ones")
        if (log_x if name == "x" else log_y) and row.min() <= 0:
            axis = "log_x" if name == "x" else "log_y"
            raise ValueError(
                f"points: {name} of {label!r} reaches {row.min():.4g}; a logarithmic "
                f"axis shows positive values only: use {axis}=False"
            )
    if len(rows) == 4:
        _, y, low, high = rows
        if not ((low <= y) & (y <= high)).all():
            raise ValueError(
                f"points: {label!r} has a value outside its error bar; low and high "
                "are its ends, not their distances from y"
            )
    return rows


# --- how a series looks -------------------------------------------------------------


DASHES = ("-", "--", "-.", ":")
# Part of a label → colours and markers of its subjects, in order.
FAMILIES = {
    "keras": ((KERAS,), "o^h<p"),
    "torch": ((TORCH,), "sD*Xd"),
    "": (OTHERS, "^DvPX<>8"),
}


class _Style(NamedTuple):
    color: str
    marker: str
    dashes: str
    hollow: bool


def _styles(labels: Iterable[str]) -> list[_Style]:
    """Give each label a look of its own, by what it names.

    “x” and “x, validation” are one subject: one colour and marker, two kinds of line.
    Subjects of one framework share its colour and differ in marker and line.
    """
    families: dict[str, list[str]] = {"keras": [], "torch": [], "": []}
    chosen = []
    for label in labels:
        words = label.lower()
        validation = "valid" in words
        subject = words.replace("validation", "").strip(" ,:()")
        name = next(name for name in families if name in subject)
        subjects = families[name]
        if subject not in subjects:
            subjects.append(subject)
        index = subjects.index(subject)
        colors, markers = FAMILIES[name]
        chosen.append(
            _Style(
                colors[index % len(colors)],
                markers[index % len(markers)],
                DASHES[2 * (index if name else index // len(markers)) % 4 + validation],
                hollow=validation,
            )
        )
    return chosen


# The markers of systems in both frameworks' colours, and of all other codecs.
SUBJECT_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _subject_looks(labels: Iterable[str]) -> dict[str, tuple[str, str, bool]]:
    """Colour, marker and whether hollow, for each label of `rate_distortion`."""
    colors = {"Keras": KERAS, "PyTorch": TORCH}
    systems: list[str] = []
    others: list[str] = []
    looks = {}
    for label in labels:
        real, _, ideal = label.rpartition(", ideal")
        hollow = bool(real) and not ideal
        subject, _, framework = (real if hollow else label).rpartition(", ")
        if framework in colors:
            if subject not in systems:
                systems.append(subject)
            index, color = systems.index(subject), colors[framework]
        else:
            subject = real if hollow else label
            if subject not in others:
                others.append(subject)
            # one step on for every round of the colours, so that no look comes twice
            index = others.index(subject)
            color = OTHERS[index % len(OTHERS)]
            index += index // len(OTHERS)
        looks[label] = color, SUBJECT_MARKERS[index % len(SUBJECT_MARKERS)], hollow
    return looks


def _add_subject_legend(
    figure: Figure, looks: Mapping[str, tuple[str, str, bool]], front: bool
) -> None:
    """Name systems by marker, frameworks by colour, and everything else by both."""
    handles: dict[str, Line2D] = {}
    frameworks: dict[str, Line2D] = {}
    for label, (color, marker, hollow) in looks.items():
        subject, _, framework = label.rpartition(", ")
        if color in (KERAS, TORCH):
            frameworks[framework] = Line2D([], [], color=color, linewidth=3)
            handles[subject] = Line2D([], [], color="#666666", marker=marker, lw=0)
        else:
            face = "white" if hollow else color
            handles[label] = Line2D(
                [], [], color=color, marker=marker, markerfacecolor=face, lw=1.1
            )
    handles |= frameworks
    if front:
        handles["best real stream"] = Line2D([], [], color="#CCCCCC", linewidth=5)
    widest = max(_text_width(figure, label, 9) for label in handles)
    columns = max(1, min(3, int(WIDTH * DPI / (widest + 0.35 * DPI))))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * max(0, rows - 2))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper left",
        ncols=columns,
        handlelength=1.4,
        columnspacing=0.8,
        handletextpad=0.5,
        borderaxespad=0.2,
    )


def _show_up_to(axes: matplotlib.axes.Axes, limit: float, points: np.ndarray) -> None:
    """End the axis of bytes, and fit the other to the points that remain."""
    seen = points[1, points[0] <= limit]
    margin = 0.05 * max(float(np.ptp(seen)), 1e-3)
    axes.set(xlim=(0, limit), ylim=(seen.min() - margin, seen.max() + margin))


def _draw_sizes(
    axes: matplotlib.axes.Axes, sizes: Mapping[str, float], limit: float | None
) -> None:
    """Draw sizes to compare with: upright lines, or arrows where they lie beyond."""
    beyond = 0
    for label, size in sizes.items():
        if limit is None or size <= limit:
            axes.axvline(size, color="#666666", linestyle=(0, (4, 2)), linewidth=1)
            text, place, angle = label, (size, 0.98), 90
            across = axes.get_xaxis_transform()
            align = {"ha": "right", "va": "top"}
        else:
            text, place, angle = f"{label} →", (0.99, 0.03 + 0.08 * beyond), 0
            across = axes.transAxes
            align = {"ha": "right", "va": "bottom"}
            beyond += 1
        axes.text(*place, text, transform=across, rotation=angle, fontsize=9, **align)


def _draw_levels(axes: matplotlib.axes.Axes, levels: Mapping[str, float]) -> None:
    """Draw values to compare with, as horizontal grey lines."""
    dashes = ((0, (1, 1)), (0, (6, 2)), (0, (4, 1, 1, 1)))
    for index, (label, level) in enumerate(levels.items()):
        line = dashes[index % len(dashes)]
        axes.axhline(level, label=label, color="#666666", linestyle=line, linewidth=1.2)


def _set_log_scale(axes: matplotlib.axes.Axes, which: str = "y") -> None:
    """Make an axis logarithmic, with plain numbers (0.05) on its ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    plain = FuncFormatter(lambda value, _: f"{value:,.6g}")
    axis.set_major_formatter(plain)
    if high < 50 * low:  # few powers of ten in sight: number some of the rest too
        between = (2, 3, 4, 6, 8) if high < 10 * low else (2, 5)
        axis.set_minor_locator(LogLocator(subs=between))
        axis.set_minor_formatter(plain)
    else:
        axis.set_minor_formatter(NullFormatter())


def _set_ticks_at(axes: matplotlib.axes.Axes, values: np.ndarray) -> None:
    """Put the ticks of a logarithmic x axis at these rising values, if they fit."""
    span = np.log(values[-1] / values[0])
    if span == 0 or np.diff(np.log(values)).min() > 0.14 * span:
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_minor_locator(NullLocator())


def _add_legend(figure: Figure, axes: matplotlib.axes.Axes) -> None:
    """Put the legend above the axes, in columns; a long one makes the figure higher."""
    handles, labels = axes.get_legend_handles_labels()
    widest = max(_text_width(figure, label, 9) for label in labels)
    fit = int(WIDTH * DPI / (widest + 0.5 * DPI))
    columns = max(1, min(fit, len(labels), 3 if len(labels) > 6 else 2))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * max(0, rows - 3))
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=columns,
        handlelength=2.8,  # long enough for dashes to show
    )


# --- pictures -----------------------------------------------------------------------


def _grid(
    pictures: np.ndarray, columns: int, cmap: str, scale: Normalize, meaning: str
) -> Figure:
    """Lay pictures ``(n, height, width)`` out in rows, with a colour bar below."""
    count, height, width = pictures.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    # In inches. One picture is never wider than an inch and a half.
    gap, bar_space = 0.04, 0.62
    wide = min((WIDTH - gap) / columns - gap, 1.5)
    high = wide * height / width
    left = (WIDTH - columns * (wide + gap) + gap) / 2
    total = rows * (high + gap) + gap + bar_space
    figure = Figure(figsize=(WIDTH, total), layout="none")

    def add_axes(x: float, y: float, w: float, h: float) -> matplotlib.axes.Axes:
        return figure.add_axes((x / WIDTH, y / total, w / WIDTH, h / total))

    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        x, y = left + column * (wide + gap), total - (row + 1) * (high + gap)
        axes = add_axes(x, y, wide, high)
        drawn = axes.imshow(picture, cmap=cmap, norm=scale, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=FRAME, linewidth=0.5)
    bar = figure.colorbar(
        drawn,
        cax=add_axes(0.15 * WIDTH, bar_space - 0.12, 0.7 * WIDTH, 0.1),
        orientation="horizontal",
        ticks=MaxNLocator(5),
    )
    bar.set_label(meaning)
    bar.outline.set_visible(False)
    return figure


def _pixel_canvas(figure: Figure, width: int, height: int) -> matplotlib.axes.Axes:
    """Cover the figure with axes whose unit is one pixel, the origin top left."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def _draw_frame(
    axes: matplotlib.axes.Axes, box: tuple[float, float, float, float]
) -> None:
    """Outline a picture just outside its pixels."""
    left, right, lower, upper = box
    axes.add_patch(
        Rectangle(
            (left - 1, upper - 1),
            right - left + 2,
            lower - upper + 2,
            fill=False,
            edgecolor=FRAME,
            linewidth=2 * 72 / DPI,
        )
    )


def _text_width(figure: Figure, words: str, size: float = 9.5) -> int:
    """Measure text, in pixels of the picture."""
    text = figure.text(0, 0, words, fontsize=size)
    width = text.get_window_extent().width
    text.remove()
    return int(np.ceil(width))


# --- the diagram of a network -------------------------------------------------------

THICKEST = 256  # channels; more are drawn so, with a cut
LEAN = 0.18  # how far a map's width leans into depth, of its true length
TALL = 1.1  # inches, the highest box
MARGIN = 0.06
# Front, top and side. The code differs in lightness and in its bold label too.
BLOCK_FACES = ("#C9DCEB", "#E4EEF6", "#9DBBD3")
CODE_FACES = ("#F0B95B", "#F8DDAE", "#C98A1B")


def _draw_boxes(
    blocks: Sequence[tuple[str, int, int, int]], code: int | None
) -> Figure:
    figure = Figure(figsize=(WIDTH, 1), layout="none")
    labels = [f"{label}\n{h}×{w}×{c}" for label, h, w, c in blocks]
    widths = [
        max(_text_width(figure, part, 9) for part in label.split("\n")) / DPI
        for label in labels
    ]
    unit = TALL / max(height for _, height, _, _ in blocks)
    leans = [LEAN * width * unit for _, _, width, _ in blocks]
    channels = [min(count, THICKEST) for *_, count in blocks]
    # Labels stand upright if that leaves room to tell thicknesses apart.
    upright = [width + 0.08 for width in widths]
    turned = [0.28] * len(labels)  # two lines of text
    inch_per_channel = _fit_thickness(upright, leans, channels)
    rotated = inch_per_channel * max(channels) < 0.3
    if rotated:
        inch_per_channel = _fit_thickness(turned, leans, channels)
        if not inch_per_channel:
            raise ValueError(f"shapes: {len(blocks)} blocks do not fit one picture")
    texts = turned if rotated else upright
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
        axes.text(
            left + slot / 2,
            -0.06,
            labels[index],
            rotation=90 if rotated else 0,
            ha="center",
            va="top",
            multialignment="right" if rotated else "center",
            linespacing=1,
            fontsize=9,
            fontweight="bold" if index == code else "normal",
        )
        left += slot
    return figure


def _slots(
    inch_per_channel: float,
    texts: Sequence[float],
    leans: Sequence[float],
    channels: Sequence[int],
) -> list[float]:
    """Width that each box takes with its label, in inches."""
    return [
        max(text, inch_per_channel * count + lean + 0.05)
        for text, lean, count in zip(texts, leans, channels, strict=True)
    ]


def _fit_thickness(
    texts: Sequence[float], leans: Sequence[float], channels: Sequence[int]
) -> float:
    """Find the most inches per channel with which all boxes fit; 0 if none do."""
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
    """Draw a box that stands on 0: its front, its top and the map on its side."""
    right = left + thick
    front = [(left, 0), (right, 0), (right, high), (left, high)]
    top = [(left, high), (right, high), (right + lean, high + lean)]
    top.append((left + lean, high + lean))
    side = [(right, 0), (right + lean, lean), (right + lean, high + lean)]
    side.append((right, high))
    for corners, color in zip((front, top, side), faces, strict=True):
        axes.add_patch(Polygon(corners, facecolor=color, edgecolor=INK, linewidth=0.5))


def _draw_cut(axes: matplotlib.axes.Axes, middle: float, high: float) -> None:
    """Slash a box that is drawn thinner than it is."""
    for offset in (-0.03, 0.03):
        across = (middle + offset - 0.03, middle + offset + 0.03)
        axes.plot(across, (-0.03, high + 0.03), color=INK, linewidth=0.8)
