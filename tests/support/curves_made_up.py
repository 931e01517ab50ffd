"""Synthetic runs with curves: rates by strength for each method."""

from measured_made_up import cell, run

from calib.scoring.results import BASELINE

RATES = {-2: (0.1, 0.9, 0.9), -1: (0.3, 0.85, 0.95), 0: (0.5, 0.8, 0.96), 1: (0.9, 0.5, 0.955)}
"""SRA_u, SRA_s and utility by strength."""
PROMPT = {1: (0.8, 0.7, 0.8)}
IMAGES = ("image_centric", "all")


def rates(sra_u, sra_s, utility, parts=IMAGES):
    """Rates by dataset and metric; None is not measured."""
    both = sra_u is not None and sra_s is not None
    values = {}
    for part in parts:
        values |= {(part, "SRA_u"): sra_u, (part, "SRA_s"): sra_s}
        values |= {(part, "SRA"): (sra_u + sra_s) / 2} if both else {}
    values["utility", "utility"] = utility
    return {key: value for key, value in values.items() if value is not None}


def point(method, layer=3, strength=1.0, **more):
    return {
        "method": method, "layer": layer, "strength": strength, "strength_means": "in gap units",
        "prompt_only": False, "reference": False, "kept_uncalibrated": strength == 0, **more,
    }  # fmt: skip


def results_of(method, layer, by_strength, parts=IMAGES, half=0.03):
    results = []
    for strength, values in by_strength.items():
        setting = (method, layer, float(strength)) if strength else (BASELINE, None, 0.0)
        results += cell(*setting, rates(*values, parts), half=half)
    return results


def one_method(method="steer", reference=None, parts=IMAGES, by_strength=RATES, **more):
    """A run of one method with its operating point at layer 3 and strength 1, and optionally of a
    prompt-only reference with its operating point at strength ``reference``."""
    results = results_of(method, 3, by_strength, parts)
    points = [point(method)]
    if reference is not None:
        results += results_of("caution", None, PROMPT, parts)
        points.append(point("caution", None, reference, prompt_only=True, reference=True))
    return run(results, points, **more)


def methods_of(gains, prompts=(), **more):
    """A run of several methods, each with its gain in SRA at strength 1, and half of it at 2, where
    it loses a tenth of utility. ``prompts`` are the methods that only change the prompt."""
    results = results_of("", None, {0: (0.5, 0.5, 0.95)})
    for name, gain in gains.items():
        layer = None if name in prompts else 3
        levels = {1: (0.5 + gain, 0.5 + gain, 0.94), 2: (0.5 + gain / 2, 0.5 + gain / 2, 0.85)}
        results += results_of(name, layer, levels)
    points = [
        point(name, None if name in prompts else 3, 1.0 if gain > 0 else 0.0,
              prompt_only=name in prompts)
        for name, gain in gains.items()
    ]  # fmt: skip
    return run(results, points, **more)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(axes, label):
    """The coordinates of the line with a label in the legend."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [tuple(round(float(value), 4) for value in point) for point in line.get_xydata()]
