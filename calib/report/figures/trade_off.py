"""The figure ``trade_off``: the effect of one method's strength on SRA_u, SRA_s and utility.

Each part of the benchmark has a panel with its rates against strength; the last panel shows all
strengths in the plane of SRA and utility.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

from calib.data.splits import PAIRED_QUERIES
from calib.report.figures.curves import (
    Curve,
    curve_names,
    curves_of,
    kept_note,
    plane_title,
    prompt_note,
    shared_plane,
    swept_runs,
    uncalibrated_models,
)
from calib.report.figures.io import COLUMN_INCHES, NotDrawn, figure_style
from calib.report.figures.plane import (
    curve_styles,
    draw_curve,
    draw_fronts,
    draw_uncalibrated,
    label_axes,
    label_points,
    separate_labels,
    strength_labels,
)
from calib.report.figures.style import (
    OTHER_RATE_STYLE,
    RATE_STYLES,
    draw_legend,
    short_name,
    write_title,
)
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_metrics
from calib.scoring.results import ALL, BASELINE, Result

_PANELS = {
    "image_centric": "Image-centric queries",
    "text_centric": "Text-centric queries",
    "dual_use": "Dual-use pictures",
}


def draw(runs: Sequence[Run], columns: int, split: str = "test") -> Figure:
    """Draw one run with one method, and its prompt-only reference if it has one, on ``split``.

    Without utility, the plane is SRA_s and SRA_u. Raises NotDrawn for several runs or methods, and
    for a run without SRA on ``split``.
    """
    models = uncalibrated_models(runs, split)
    curves = curves_of(runs, split)
    own = [curve for curve in curves if not curve.reference]
    run, *more = swept_runs(runs)
    if more or len(own) > 1:
        raise NotDrawn(
            "unsupported",
            f"The figure 'trade_off' shows one method of one run; given: {1 + len(more)} run(s) "
            f"with {len(own)} method(s) in all. Give one run of one method, or draw "
            "calibration_against_utility.",
        )
    results = [r for r in run.results if r.split == split]
    measured = {result.dataset for result in results}
    # Dual-use pictures count towards SRA, and have a panel, only if there are no paired queries.
    parts = [p for p in PAIRED_QUERIES if p in measured] or [p for p in _PANELS if p in measured]
    reference = next((curve for curve in curves if curve.reference), None)
    plane = shared_plane(models)
    panels = len(parts) + 1
    with figure_style():
        rows, across = (1, panels) if columns == 2 else (panels, 1)
        size = COLUMN_INCHES[columns], 0.5 + (2.1 if columns == 2 else 1.9 * panels)
        figure = Figure(figsize=size, layout="constrained")
        all_axes = list(figure.subplots(rows, across, squeeze=False).flat)
        names = curve_names(curves)
        method = curve_names(own)[0] if own else "uncalibrated"
        title = f"{method}, {short_name(split, 20)} split"
        write_title(figure, title, [run.model_name])
        for k, (axes, part) in enumerate(zip(all_axes, parts, strict=False)):
            _draw_strengths(axes, own[0] if own else None, part, results)
            if reference:
                _draw_reference(axes, reference, part, results)
            _label_strengths(axes, own[0] if own else None, run)
            axes.set_title(_PANELS[part])
            if k == 0 or columns == 1:
                axes.set_ylabel("share of responses")
        last = all_axes[-1]
        last.set_title(plane_title(plane))
        for curve, name, style in zip(curves, names, curve_styles(curves), strict=True):
            draw_curve(last, curve, style, plane, name)
        draw_uncalibrated(last, models, plane)
        label_axes(last, plane)
        draw_fronts(last, models, curves, plane)
        lines = [curve for curve in own if curve.is_line]
        notes = ["Bands and bars: 95% intervals."]
        notes += ["Numbers: strengths. Large: operating point."] * bool(lines)
        notes += [f"Dotted, hollow: {names[curves.index(reference)]}."] if reference else []
        notes += [kept_note(own, curve_names(own)), prompt_note(curves)] if curves else []
        draw_legend(figure, all_axes, notes)
        figure.draw_without_rendering()
        label_points(last, separate_labels(last, strength_labels(lines, plane)))
    return figure


def _draw_strengths(axes: Axes, curve: Curve | None, part: str, results: Sequence[Result]) -> None:
    """Draw rates by strength: bands for several strengths, else two points with bars."""
    rates_of_part = _rates_of(part)
    for k, (metric, label, colour, marker, line) in enumerate(rates_of_part):
        rates = _by_strength(curve, "utility" if metric == "utility" else part, metric, results)
        if not rates:
            continue
        strengths = sorted(rates)
        value, low, high = np.array([rates[strength][:3] for strength in strengths]).T
        if curve is not None and curve.is_line:
            axes.fill_between(strengths, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(strengths, value, color=colour, marker=marker, linestyle=line, label=label)
        else:
            x = np.array(strengths) + (k - (len(rates_of_part) - 1) / 2) * 0.12
            axes.vlines(x, low, high, color=colour)
            axes.plot(x, value, color=colour, marker=marker, linestyle="", label=label)


def _draw_reference(axes: Axes, reference: Curve, part: str, results: Sequence[Result]) -> None:
    """Draw the reference's rates as lines across the panel, with their intervals at its edge."""
    point = reference.chosen or reference.points[-1]
    for metric, _, colour, marker, _ in _rates_of(part)[:-1]:
        rates = _by_strength(reference, part, metric, results)
        if point.strength not in rates:
            continue
        value, low, high = rates[point.strength][:3]
        edge = axes.get_yaxis_transform()
        axes.axhline(value, color=colour, linestyle=(0, (1, 2)), linewidth=0.9, zorder=1.5)
        axes.plot([1, 1], [low, high], color=colour, transform=edge, clip_on=False, linewidth=1)
        axes.plot([1], [value], color=colour, marker=marker, markerfacecolor="white",
                  transform=edge, clip_on=False, linestyle="none")  # fmt: skip


def _label_strengths(axes: Axes, curve: Curve | None, run: Run) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    if curve is not None and curve.is_line:
        means = (run.operating_point(curve.method) or {}).get("strength_means", "")
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0.5)
        axes.set_xlabel(f"strength {short_name(str(means), 40)}".strip())
        return
    settings = {0.0: "uncalibrated"}
    settings |= {p.strength: short_name(curve.method, 16) for p in curve.points} if curve else {}
    axes.set_xticks(list(settings), list(settings.values()))
    middle, room = max(settings) / 2, max(settings) or 1.0
    axes.set_xlim(middle - room, middle + room)


def _rates_of(part: str) -> Sequence[tuple[str, str, str, str, str]]:
    """Return name, label, colour, marker and line of the rates of ``part``; utility is last."""
    kind = "dual_use" if part == "dual_use" else "queries"
    metrics = [*shown_metrics("trade_off", kind), *shown_metrics("trade_off", "utility")]
    return [
        (
            metric.name,
            metric.label if metric.name == "utility" else f"{metric.name}: {metric.label}",
            *RATE_STYLES.get(metric.name, OTHER_RATE_STYLE),
        )
        for metric in metrics
    ]


def _by_strength(
    curve: Curve | None, dataset: str, metric: str, results: Sequence[Result]
) -> Mapping[float, Interval]:
    total = (dataset, ALL, ALL, metric)
    totals = [r for r in results if (r.dataset, r.variant, r.category, r.metric) == total]
    rates = {r.strength: r.interval for r in totals if r.method == BASELINE}
    if curve is None:
        return rates
    own = (curve.method, curve.layer)
    return rates | {r.strength: r.interval for r in totals if (r.method, r.layer) == own}
