"""Runs with curves, made up: rates by strength for each method."""

from measured_made_up import cell, run

from calib.scoring.results import BASELINE

RATES = {-2: (0.1, 0.9, 0.9), -1: (0.3, 0.85, 0.95), 0: (0.5, 0.8, 0.96), 1: (0.9, 0.5, 0.955)}
"""By strength: SRA_u, SRA_s, utility."""
PROMPT = {1: (0.8, 0.7, 0.8)}
IMAGES = ("image_centric", "all")


def rates(sra_u, sra_s, utility, parts=IMAGES):
    """By dataset and metric; a None is not measured."""
    both = sra_u is not None and sra_s is not None
    found = {}
    for part in parts:
        found |= {(part, "SRA_u"): sra_u, (part, "SRA_s"): sra_s}
        found |= {(part, "SRA"): (sra_u + sra_s) / 2} if both else {}
    found["utility", "utility"] = utility
    return {place: value for place, value in found.items() if value is not None}


def point(method, layer=3, strength=1.0, **more):
    return {
        "method": method, "layer": layer, "strength": strength, "strength_means": "in gap units",
        "prompt_only": False, "reference": False, "kept_uncalibrated": strength == 0, **more,
    }  # fmt: skip


def results_of(method, layer, by_strength, parts=IMAGES, half=0.03):
    found = []
    for strength, values in by_strength.items():
        place = (method, layer, float(strength)) if strength else (BASELINE, None, 0.0)
        found += cell(*place, rates(*values, parts), half=half)
    return found


def one_method(method="steer", reference=None, parts=IMAGES, by_strength=RATES, **more):
    """A run of one method at layer 3, strength 1 chosen, and of a prompt-only reference at the
    strength that ``reference`` says it chose."""
    results = results_of(method, 3, by_strength, parts)
    points = [point(method)]
    if reference is not None:
        results += results_of("caution", None, PROMPT, parts)
        points.append(point("caution", None, reference, prompt_only=True, reference=True))
    return run(results, points, **more)


def methods_of(gains, prompts=(), **more):
    """A run of several methods, each with its gain in SRA at strength 1 and half of it at 2, where
    it loses a tenth of utility. ``prompts`` are those that change the prompt alone."""
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
    """Where the points of an entry of the legend lie."""
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return [tuple(round(float(value), 4) for value in place) for place in found.get_xydata()]
