"""Synthetic runs with given rates, and checks of the figures drawn from them."""

from dataclasses import replace
from pathlib import Path

from calib.runs.run import Run
from calib.scoring.results import ALL, BASELINE, Result


def rate(key, value, half=0.05, n=100):
    """``key`` is (method, layer, strength, split, dataset, variant, category, metric)."""
    return Result(*key, value, max(-1.0, value - half), min(1.0, value + half), n)


def cell(method, layer, strength, rates, split="test", **kwargs):
    """Results of a setting; ``rates`` are by (dataset, metric), or with variant and category."""
    results = []
    for (dataset, *slices, metric), value in rates.items():
        key = (dataset, *(slices or (ALL, ALL)), metric)
        results.append(rate((method, layer, strength, split, *key), value, **kwargs))
    return results


def safety(sra, utility=None, parts=("image_centric", "text_centric", ALL)):
    """SRA and both its sides for each part, and utility."""
    rates = {(part, metric): sra for part in parts for metric in ("SRA", "SRA_u", "SRA_s")}
    return rates if utility is None else rates | {("utility", "utility"): utility}


def chosen(method, layer=None, strength=1.0):
    return {
        "method": method, "layer": layer, "strength": strength, "strength_means": "",
        "prompt_only": layer is None, "kept_uncalibrated": strength == 0,
    }  # fmt: skip


def run(results, points=(), name="run", model="model", folder=None):
    return Run(
        Path(folder or name), name=name, checkpoint=model, results=list(results),
        operating_points=list(points), directions={}, projections={},
    )  # fmt: skip


def swept(methods=("steer",), name="run", model="model", before=0.6, utility=0.9, gain=0.1):
    """A run of ``methods`` at layer 3 and strength 1, better than uncalibrated by ``gain``."""
    results = cell(BASELINE, None, 0.0, safety(before, utility))
    for k, method in enumerate(methods):
        results += cell(method, 3, 1.0, safety(before + gain + k / 100, utility))
    validation = [replace(result, split="validation") for result in results]
    points = [chosen(method, 3) for method in methods]
    return run([*validation, *results], points, name, model)


def nothing_is_cut_off(figure):
    """Whether all texts, legends and axes are within the figure."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    extents = [text.get_window_extent() for text in figure.texts]
    extents += [legend.get_window_extent() for legend in figure.legends]
    extents += [axes.get_tightbbox() for axes in figure.axes]
    return all(
        box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        for box in extents
    )


def smallest_text(figure):
    """The smallest font size, in points."""
    from matplotlib.text import Text

    return min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text() and t.get_visible())


def never_mathematics(figure):
    """Whether no text is set as a formula."""
    from matplotlib.text import Text

    shown = [text for text in figure.findobj(Text) if text.get_text()]
    return not any(text._preprocess_math(text.get_text())[1] is True for text in shown)


def texts(figure):
    """All text outside the axes."""
    parts = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        parts += [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
    return " ".join(parts).replace("\n", " ")


HOSTILE = "$\\frac{x$\x1b[31m" + "\u202ecategory" * 9
