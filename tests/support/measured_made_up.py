"""What figures are drawn from, made up: rates are given, the rest is as a finished run's."""

from dataclasses import replace
from pathlib import Path

from calib.runs.run import Run
from calib.scoring.results import ALL, BASELINE, Result


def rate(place, value, half=0.05, n=100):
    """``place`` is (method, layer, strength, split, dataset, variant, category, metric)."""
    return Result(*place, value, max(-1.0, value - half), min(1.0, value + half), n)


def cell(method, layer, strength, rates, split="test", **kwargs):
    """``rates`` by (dataset, metric), or by (dataset, variant, category, metric)."""
    found = []
    for place, value in rates.items():
        dataset, *slices, metric = place
        where = (dataset, *(slices or (ALL, ALL)), metric)
        found.append(rate((method, layer, strength, split, *where), value, **kwargs))
    return found


def safety(sra, utility=None, parts=("image_centric", "text_centric", ALL)):
    """SRA and both its sides of each part, and utility."""
    found = {(part, metric): sra for part in parts for metric in ("SRA", "SRA_u", "SRA_s")}
    return found if utility is None else found | {("utility", "utility"): utility}


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
    """Each of ``methods`` at layer 3 and strength 1, better than uncalibrated by ``gain``."""
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
    """In points."""
    from matplotlib.text import Text

    return min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text() and t.get_visible())


def never_mathematics(figure):
    """Whether no name is read as a formula."""
    from matplotlib.text import Text

    shown = [text for text in figure.findobj(Text) if text.get_text()]
    return not any(text._preprocess_math(text.get_text())[1] is True for text in shown)


def texts(figure):
    """Everything that is written outside the axes."""
    said = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        said += [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
    return " ".join(said).replace("\n", " ")


HOSTILE = "$\\frac{x$\x1b[31m" + "\u202ecategory" * 9
