"""Figures of images: rows of them, signed differences, and feature maps."""

from collections.abc import Mapping, Sequence

import matplotlib.axes
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from caebook.images import to_uint8
from caebook.plots.style import DPI, FRAME, WIDTH, Figure, text_width


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
        Each stored pixel is a whole number of the PNG's pixels wide.

    Raises
    ------
    TypeError
        If a row is neither uint8 nor floats.
    ValueError
        If there is no row, a row has another shape or count or holds NaN, the labels
        do not match the columns, or there are too many columns for a page's width.
    """
    count = _check_rows(rows, columns)
    # Laid out in pixels of the PNG, so that all stored pixels are drawn equally wide.
    figure = Figure(figsize=(WIDTH, 1), layout="none")
    page, letter = round(WIDTH * DPI), 9.5 * DPI / 72
    gap = 8 if count <= 12 else 4
    left = max(text_width(figure, label) for label in rows) + 3 * gap
    side = max(images.shape[2] for images in rows.values())
    zoom = min((page - left - gap) // count - gap, 7 * DPI // 10) // side
    if zoom * side < letter:  # lower than the label of its row
        raise ValueError(f"strip: {count} columns do not fit the page; show fewer")
    cell = zoom * side + gap
    left += (page - left - count * cell) // 2  # center the columns
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
            _draw_image(axes, image, (start, start + cell - gap, lower, upper))
        upper += row_height
    axes.set(xlim=(0, page), ylim=(height, 0))
    return figure


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
        Difference at the ends of the colour scale, 1 from black to white; by default
        the largest difference. Figures with the same limit can be compared.

    Returns
    -------
    Figure

    Raises
    ------
    TypeError
        If an image is neither uint8 nor floats.
    ValueError
        If the shapes differ or are not images', a value is NaN or infinite, or `limit`
        is not positive.
    """
    pair = []
    for name, images in (("reference", reference), ("test", test)):
        stack = images[None] if np.ndim(images) == 2 else images
        _check_images(stack, f"difference: {name}")
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


def _check_rows(rows: Mapping[str, np.ndarray], columns: Sequence[str] | None) -> int:
    """Check the arguments of `strip`, and return how many images a row has."""
    if not rows:
        raise ValueError("strip: no rows to show")
    for label, images in rows.items():
        _check_images(images, f"strip: row {label!r}")
    counts = {label: len(images) for label, images in rows.items()}
    count = next(iter(counts.values()))
    if set(counts.values()) != {count}:
        raise ValueError(f"strip: rows of different lengths: {counts}")
    if columns is not None and len(columns) != count:
        raise ValueError(f"strip: {len(columns)} labels for {count} columns")
    return count


def _check_images(images: np.ndarray, what: str) -> None:
    """Raise unless these are images ``(n, height, width)``, uint8 or finite floats."""
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{what}: a NumPy array is needed, not {type(images).__name__}")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            f"{what}: uint8 (0 to 255) or floats (0 to 1) are needed, not "
            f"{images.dtype}"
        )
    if images.ndim != 3 or images.size == 0:
        raise ValueError(
            f"{what}: shape {images.shape}; images (n, height, width) are needed: "
            "make one image a row with image[None], remove a channel axis with "
            "images[..., 0]"
        )
    if not np.isfinite(images).all():
        raise ValueError(f"{what}: some values are NaN or infinite")


def _grid(
    maps: np.ndarray, columns: int, cmap: str, scale: Normalize, meaning: str
) -> Figure:
    """Lay maps ``(n, height, width)`` out in rows, with a colour bar below."""
    count, height, width = maps.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    # In inches. No map is wider than an inch and a half.
    gap, bar_space = 0.04, 0.62
    wide = min((WIDTH - gap) / columns - gap, 1.5)
    high = wide * height / width
    left = (WIDTH - columns * (wide + gap) + gap) / 2
    total = rows * (high + gap) + gap + bar_space
    figure = Figure(figsize=(WIDTH, total), layout="none")

    def add_axes(x: float, y: float, w: float, h: float) -> matplotlib.axes.Axes:
        return figure.add_axes((x / WIDTH, y / total, w / WIDTH, h / total))

    for index, values in enumerate(maps):
        row, column = divmod(index, columns)
        x, y = left + column * (wide + gap), total - (row + 1) * (high + gap)
        axes = add_axes(x, y, wide, high)
        drawn = axes.imshow(values, cmap=cmap, norm=scale, aspect="auto")
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


def _draw_image(
    axes: matplotlib.axes.Axes,
    image: np.ndarray,
    box: tuple[float, float, float, float],
) -> None:
    """Draw an image into ``(left, right, lower, upper)``, with a frame around it."""
    # As RGB: with a colour map some grey levels would be off by one.
    levels = image if image.dtype == np.uint8 else to_uint8(image)
    axes.imshow(np.stack([levels] * 3, axis=-1), extent=box, aspect="auto")
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
