"""What all figures share: colours, sizes, legends, logarithmic axes and checks.

Importing this module sets Matplotlib's defaults to the book's look.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe & Ito's colours, which differ for readers with any colour vision. Each framework
# keeps its colour throughout the book. Markers and dashes repeat what colours say.
KERAS = "#0072B2"
TORCH = "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
INK = "#222222"
FRAME = "#999999"
REFERENCE = "#666666"  # lines to compare with

WIDTH = 4.4  # inches: the column of the page, so text shrinks to 9 px on a phone
PAGE_DPI = 160  # CSS pixels per inch where the figure fills the column
DPI = 2 * PAGE_DPI  # two pixels of the PNG for each CSS pixel

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

Framework = Literal["keras", "torch"]
Numbers = Sequence[float] | np.ndarray

FRAMEWORKS: dict[Framework, str] = {"keras": "Keras", "torch": "PyTorch"}
FRAMEWORK_COLORS: dict[Framework, str] = {"keras": KERAS, "torch": TORCH}


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows once, as the value of a cell's last line.

    IPython can show Matplotlib's own figures only after pyplot was imported, and it
    shows pyplot's figures at the end of a cell even if they are not the last line.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = io.BytesIO()
        self.savefig(png, format="png")
        # Only the width: with a height too, a narrow page would distort the image.
        return png.getvalue(), {"width": round(self.get_figwidth() * PAGE_DPI)}


class Look(NamedTuple):
    """How a series is drawn: Matplotlib's colour, marker and line style."""

    color: str
    marker: str
    dashes: str
    hollow: bool = False

    @property
    def face(self) -> str:
        """Colour inside the marker."""
        return "white" if self.hollow else self.color


# --- checks of series ---------------------------------------------------------------


def check_label(label: str, framework: Framework | None, kind: str) -> None:
    """Raise unless a series of this kind has a text as its label and a known framework.

    Raises
    ------
    TypeError
        If the label is not a string.
    ValueError
        If the framework is neither ``"keras"`` nor ``"torch"`` nor None.
    """
    if not isinstance(label, str):
        raise TypeError(
            f"{kind}: the label comes first and is a text, not {type(label).__name__}"
        )
    if framework is not None and framework not in FRAMEWORKS:
        raise ValueError(
            f'{kind} {label!r}: unknown framework {framework!r}; use "keras", "torch" '
            "or None"
        )


def to_row(numbers: Numbers, what: str, gaps: bool = False) -> np.ndarray:
    """Convert the numbers of a series to floats ``(n,)``.

    Parameters
    ----------
    numbers
        At least one number.
    what
        Name of the series and of these numbers, for error messages.
    gaps
        Whether NaN and infinite values are allowed.

    Raises
    ------
    ValueError
        If these are not numbers, not one-dimensional, none, or not finite.
    """
    try:
        row = np.asarray(numbers, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: one row of numbers is needed ({error})") from error
    if row.ndim != 1 or len(row) == 0:
        raise ValueError(
            f"{what}: shape {row.shape}; one row of at least one number is needed"
        )
    if not gaps and not np.isfinite(row).all():
        raise ValueError(f"{what}: some numbers are NaN or infinite")
    return row


def check_series(series: Sequence, kind: type, where: str) -> None:
    """Raise unless there are series, all of one kind, with labels that differ.

    Raises
    ------
    TypeError
        If a series is not of this kind.
    ValueError
        If there is no series, or two have the same label.
    """
    if len(series) == 0:
        raise ValueError(f"{where}: no series to draw")
    for one in series:
        if not isinstance(one, kind):
            raise TypeError(
                f"{where}: {one!r} is not a series; a list of plots.{kind.__name__} "
                "is needed"
            )
    labels = [one.label for one in series]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"{where}: two series have the label {label!r}; labels must differ"
            )


def check_positive(row: np.ndarray, what: str, option: str) -> None:
    """Raise if a logarithmic axis, switched on by `option`, cannot show all values.

    Raises
    ------
    ValueError
        If a value is zero or negative. NaN is accepted: it is a gap.
    """
    if (row <= 0).any():
        raise ValueError(
            f"{what} reaches {np.nanmin(row):.4g}; a logarithmic axis shows positive "
            f"values only: use {option}=False"
        )


def check_levels(
    levels: Mapping[str, float] | None, where: str, log: str | None = None
) -> dict[str, float]:
    """Return the levels to compare with, label → value, empty for None.

    Parameters
    ----------
    levels
        Label → value.
    where
        The figure, for error messages.
    log
        The option that made their axis logarithmic, if it is.

    Raises
    ------
    ValueError
        If a value is not finite, or not positive on a logarithmic axis.
    """
    checked = {}
    for label, level in (levels or {}).items():
        row = to_row([level], f"{where}: level {label!r}")
        if log:
            check_positive(row, f"{where}: level {label!r}", log)
        checked[label] = float(row[0])
    return checked


# --- parts of figures ---------------------------------------------------------------


def text_width(figure: Figure, text: str, size: float = 9.5) -> int:
    """Measure a line of text of this size (points), in pixels of the PNG."""
    drawn = figure.text(0, 0, text, fontsize=size)
    width = drawn.get_window_extent().width
    drawn.remove()
    return int(np.ceil(width))


def draw_levels(axes: matplotlib.axes.Axes, levels: Mapping[str, float]) -> None:
    """Draw values to compare with, as horizontal grey lines."""
    dashes = ((0, (1, 1)), (0, (6, 2)), (0, (4, 1, 1, 1)))
    for index, (label, level) in enumerate(levels.items()):
        line = dashes[index % len(dashes)]
        axes.axhline(level, label=label, color=REFERENCE, linestyle=line, linewidth=1.2)


def set_log_scale(axes: matplotlib.axes.Axes, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with plain numbers (0.05) on its ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    plain = FuncFormatter(lambda value, _: f"{value:,.6g}")
    axis.set_major_formatter(plain)
    if high < 50 * low:  # few powers of ten are visible: label other ticks too
        between = (2, 3, 4, 6, 8) if high < 10 * low else (2, 5)
        axis.set_minor_locator(LogLocator(subs=between))
        axis.set_minor_formatter(plain)
    else:
        axis.set_minor_formatter(NullFormatter())


def add_legend(figure: Figure, axes: matplotlib.axes.Axes) -> None:
    """Put the legend above the axes, in columns; a long one makes the figure higher."""
    handles, labels = axes.get_legend_handles_labels()
    widest = max(text_width(figure, label, 9) for label in labels)
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
