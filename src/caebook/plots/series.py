"""Figures of series: curves over epochs, points over what was varied, histograms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import matplotlib.axes
import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from caebook.plots.style import (
    FRAMEWORK_COLORS,
    OTHERS,
    Figure,
    Framework,
    Look,
    Numbers,
    add_legend,
    check_label,
    check_levels,
    check_positive,
    check_series,
    draw_levels,
    set_log_scale,
    to_row,
)


@dataclass(frozen=True, eq=False)
class Curve:
    """Values at 1, 2, 3, …, say the losses of a training over its epochs.

    Parameters
    ----------
    label
        Text of the legend. It has no influence on the look.
    values
        ``(n,)``; NaN leaves a gap.
    framework
        ``"keras"`` or ``"torch"``: gives the framework's colour and markers.
    validation
        Whether these are values of validation images: hollow markers, broken line.

    Raises
    ------
    TypeError
        If the label is not a string.
    ValueError
        If the values are not one row of numbers, or the framework is unknown.
    """

    label: str
    values: Numbers
    _: KW_ONLY
    framework: Framework | None = None
    validation: bool = False

    def __post_init__(self) -> None:
        check_label(self.label, self.framework, "Curve")
        row = to_row(self.values, f"Curve {self.label!r}: values", gaps=True)
        object.__setattr__(self, "values", row)


@dataclass(frozen=True, eq=False)
class Points:
    """Measurements `y` at the points `x`, with error bars where they are known.

    Parameters
    ----------
    label
        Text of the legend. It has no influence on the look.
    x, y
        ``(n,)``, finite.
    low, high
        Ends of the error bars, ``(n,)``, on the scale of `y`; both or neither.
    framework
        ``"keras"`` or ``"torch"``: gives the framework's colour and markers.

    Raises
    ------
    TypeError
        If the label is not a string.
    ValueError
        If the rows are not equally many finite numbers, a value lies outside its error
        bar, or the framework is unknown.
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    _: KW_ONLY
    framework: Framework | None = None

    def __post_init__(self) -> None:
        check_label(self.label, self.framework, "Points")
        what = f"Points {self.label!r}"
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{what}: low and high are given together, or neither")
        for name in self.rows:
            row = to_row(getattr(self, name), f"{what}: {name}")
            object.__setattr__(self, name, row)
            if len(row) != len(self.x):
                raise ValueError(
                    f"{what}: {name} has {len(row)} numbers and x has {len(self.x)}; "
                    "as many are needed"
                )
        if self.low is not None:
            if not ((self.low <= self.y) & (self.y <= self.high)).all():
                raise ValueError(
                    f"{what}: a value lies outside its error bar; low and high are "
                    "the ends of the bar, not their distances from y"
                )

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows of numbers that are given."""
        return ("x", "y") if self.low is None else ("x", "y", "low", "high")


@dataclass(frozen=True, eq=False)
class Sample:
    """Values whose distribution a histogram shows.

    Parameters
    ----------
    label
        Text of the legend. It has no influence on the look.
    values
        ``(n,)``, finite.
    framework
        ``"keras"`` or ``"torch"``: gives the framework's colour.

    Raises
    ------
    TypeError
        If the label is not a string.
    ValueError
        If the values are not one row of finite numbers, or the framework is unknown.
    """

    label: str
    values: Numbers
    _: KW_ONLY
    framework: Framework | None = None

    def __post_init__(self) -> None:
        check_label(self.label, self.framework, "Sample")
        row = to_row(self.values, f"Sample {self.label!r}: values")
        object.__setattr__(self, "values", row)


def curves(
    series: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    reference: Mapping[str, float] | None = None,
    log: bool = False,
) -> Figure:
    """Draw curves over 1, 2, 3, …, say losses over epochs.

    Parameters
    ----------
    series
        Their lengths may differ, their labels must.
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
    TypeError
        If a series is not a `Curve`.
    ValueError
        If there is no series, two have the same label, or a logarithmic axis would
        have to show a value that is not positive.
    """
    check_series(series, Curve, "curves")
    levels = check_levels(reference, "curves", "log" if log else None)
    if log:
        for curve in series:
            check_positive(curve.values, f"curves: {curve.label!r}", "log")
    figure = Figure()
    axes = figure.add_subplot()
    looks = _looks([(curve.framework, curve.validation) for curve in series])
    for look, curve in zip(looks, series, strict=True):
        count = len(curve.values)
        axes.plot(
            np.arange(1, count + 1),
            curve.values,
            label=curve.label,
            color=look.color,
            linestyle=look.dashes,
            marker=look.marker,
            markerfacecolor=look.face,
            markevery=max(1, count // 10),
        )
    draw_levels(axes, levels)
    longest = max(len(curve.values) for curve in series)
    margin = max(0.5, longest / 40)
    axes.set_xlim(1 - margin, longest + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if log:
        set_log_scale(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    add_legend(figure, axes)
    return figure


def points(
    series: Sequence[Points],
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
        Labels must differ.
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
        Higher than others if the legend is long.

    Raises
    ------
    TypeError
        If a series is not `Points`.
    ValueError
        If there is no series, two have the same label, or a logarithmic axis would
        have to show a value that is not positive.
    """
    check_series(series, Points, "points")
    levels = check_levels(reference, "points", "log_y" if log_y else None)
    for one in series:
        for name in one.rows:
            if log_x if name == "x" else log_y:
                option = "log_x" if name == "x" else "log_y"
                what = f"points: {name} of {one.label!r}"
                check_positive(getattr(one, name), what, option)
    figure = Figure()
    axes = figure.add_subplot()
    looks = _looks([(one.framework, False) for one in series])
    for look, one in zip(looks, series, strict=True):
        _draw_points(axes, one, look, connect)
    draw_levels(axes, levels)
    if log_x:
        set_log_scale(axes, "x")
        _set_ticks_at(axes, np.unique(np.concatenate([one.x for one in series])))
    if log_y:
        set_log_scale(axes, "y")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    add_legend(figure, axes)
    return figure


def histogram(
    series: Sequence[Sample],
    xlabel: str,
    ylabel: str = "images",
    bins: int = 40,
    log: bool = False,
) -> Figure:
    """Draw how values are distributed, one outline for each sample.

    Parameters
    ----------
    series
        All share the same bins. Labels must differ.
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
    TypeError
        If a series is not a `Sample`.
    ValueError
        If there is no series, or two have the same label.
    """
    check_series(series, Sample, "histogram")
    everything = np.concatenate([sample.values for sample in series])
    edges = np.histogram_bin_edges(everything, bins)
    figure = Figure()
    axes = figure.add_subplot()
    looks = _looks([(sample.framework, False) for sample in series])
    for index, (look, sample) in enumerate(zip(looks, series, strict=True)):
        counts, _ = np.histogram(sample.values, edges)
        axes.stairs(
            counts,
            edges,
            label=sample.label,
            color=look.color,
            linestyle=DASHES[index % len(DASHES)],  # outlines have no markers
            linewidth=1.6,
            baseline=None if log else 0,
        )
    if log:
        set_log_scale(axes)
        axes.set_ylim(bottom=0.8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(series) > 1:
        add_legend(figure, axes)
    return figure


DASHES = ("-", "--", "-.", ":")
# Framework → its colours and markers, in the order in which series take them.
FAMILIES: dict[Framework | None, tuple[tuple[str, ...], str]] = {
    "keras": ((FRAMEWORK_COLORS["keras"],), "o^h<p"),
    "torch": ((FRAMEWORK_COLORS["torch"],), "sD*Xd"),
    None: (OTHERS, "^DvPX<>8"),
}


def _looks(series: Sequence[tuple[Framework | None, bool]]) -> list[Look]:
    """Give each series, ``(framework, validation)``, a look of its own.

    Series of one framework share its colour and differ in marker and dashes.
    """
    counts: Counter[Framework | None] = Counter()
    looks = []
    for framework, validation in series:
        colors, markers = FAMILIES[framework]
        index = counts[framework]
        counts[framework] += 1
        # One colour needs other dashes at once, five only when markers repeat.
        step = index if len(colors) == 1 else index // len(markers)
        looks.append(
            Look(
                colors[index % len(colors)],
                markers[index % len(markers)],
                DASHES[(2 * step + validation) % len(DASHES)],
                hollow=validation,
            )
        )
    return looks


def _draw_points(
    axes: matplotlib.axes.Axes, series: Points, look: Look, connect: bool
) -> None:
    """Draw the points of a series in the order of x."""
    order = np.argsort(series.x, kind="stable")
    x, y, *ends = (getattr(series, name)[order] for name in series.rows)
    axes.errorbar(
        x,
        y,
        yerr=[y - ends[0], ends[1] - y] if ends else None,
        label=series.label,
        color=look.color,
        linestyle=look.dashes if connect else "none",
        marker=look.marker,
        markerfacecolor=look.face,
        capsize=3,
        elinewidth=1.2,
    )


def _set_ticks_at(axes: matplotlib.axes.Axes, values: np.ndarray) -> None:
    """Put the ticks of a logarithmic x axis at these rising values, if they fit."""
    span = np.log(values[-1] / values[0])
    if span == 0 or np.diff(np.log(values)).min() > 0.14 * span:
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_minor_locator(NullLocator())
