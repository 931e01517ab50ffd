"""The terminal table of a fitted direction: separation and effect by layer."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from calib.config.named_model import model_name
from calib.directions.direction import Direction
from calib.directions.part_table import at_best_layer, auroc_text
from calib.directions.parts import PartSeparation
from calib.report.terminal_tables import file_list
from calib.util.terminal import WIDTH, terminal_safe

_CONTRASTS = {
    "safety": "unsafe against safe",
    "refusal": "refused against answered",
    "completion": "refusals against safe completions",
    "responses": "refusals against answers to the same queries",
    "modality": "with the picture against without",
}
_PAIRED = ("safety", "modality")


def direction_table(
    direction: Direction, files: Mapping[str, Path], parts: Sequence[PartSeparation] = ()
) -> str:
    """Return one line per layer, at most 100 columns wide.

    Columns are the held-out AUROC with its interval, the cosine between the differences of pairs,
    the gap, the gap as a share of the activations' norm, and the effect of steering within the KL
    budget with its strength. Columns that were measured at no layer are left out. A second table
    has the separation by part, at the layer where the parts are separated best. ``files`` are the
    paths written, by what they contain.
    """
    unit = "pairs" if direction.contrast in _PAIRED else "examples of the smaller side"
    contrast = _CONTRASTS.get(direction.contrast, direction.contrast)
    fit = (
        f"{direction.estimator}, {contrast}, {direction.site} read at {direction.read_positions}, "
        f"fitted on {direction.pairs} {unit}"
    )
    lines = [
        "",
        *_entry("Model", terminal_safe(model_name(direction.checkpoint), WIDTH - 12)),
        *_entry("Direction", terminal_safe(fit)),
    ]
    if direction.effect:
        lines += _entry(
            "Effect",
            "points by which refusals rise from the negative to the positive strength, each within "
            f"{direction.effect_kl:g} nats of KL at the first token (n = {direction.effect_n}); "
            "strength is the positive one",
        )
    if direction.auroc_clusters:
        lines += _entry(
            "AUROC",
            f"the held-out examples of the smaller side are in {direction.auroc_clusters} "
            "independent clusters, which the intervals count",
        )
    head = _line(
        direction,
        "layer",
        f"held-out AUROC (95% CI, n={direction.auroc_pairs} a side)",
        "pair cos",
        "gap",
        "gap/norm",
        "strength",
        "effect",
    )
    lines += ["", head, "-" * len(head)]
    lines += [_layer_line(direction, row) for row in range(len(direction.layers))]
    lines += [*_parts(parts), ""]
    lines += file_list(files)
    return "\n".join(lines) + "\n"


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12)


def _layer_line(direction: Direction, row: int) -> str:
    auroc = "not measured (no validation pairs)"
    if direction.auroc:
        low, high = direction.auroc_intervals[row]
        auroc = f"{direction.auroc[row]:.3f}  ({low:.3f} to {high:.3f})"
    gap, norm = float(direction.gap[row]), float(direction.norm[row])
    return _line(
        direction,
        f"{direction.layers[row]}",
        auroc,
        _number(direction.pair_cosine[row], ".3f") if direction.pair_cosine else "",
        f"{gap:.4g}",
        f"{gap / norm:.3f}",
        _number(direction.effect_strength[row], "+.3g") if direction.effect else "",
        _number(100 * direction.effect[row], "+.1f") if direction.effect else "",
    )


def _parts(parts: Sequence[PartSeparation]) -> list[str]:
    """Lines of the directions fitted on each part; columns are the parts that are measured."""
    cells = at_best_layer(parts)
    if not cells:
        return []
    fitted, measured = (list(dict.fromkeys(key[k] for key in cells)) for k in (0, 1))
    counts = {name: cells[fitted[0], name] for name in measured}
    title = f"AUROC by part at layer {next(iter(counts.values())).layer} (95% CI by cluster)"
    head = _part_line("fitted on", measured)
    lines = ["", title, "", head, "-" * len(head)]
    for name in fitted:
        lines.append(_part_line(name, [auroc_text(cells[name, other]) for other in measured]))
    sizes = [f"{counts[name].n} ({counts[name].clusters})" for name in measured]
    lines += [_part_line("n (clusters)", sizes)]
    for name in fitted[1:]:
        cosines = [_number(cells[name, other].cosine, "+.2f") for other in measured]
        lines.append(_part_line(f"cos {name}", cosines))
    return lines


def _part_line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<19}" + "".join(f"{cell:>20}" for cell in cells)


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _line(
    direction: Direction,
    layer: str,
    auroc: str,
    cosine: str,
    gap: str,
    gap_to_norm: str,
    strength: str,
    effect: str,
) -> str:
    cells = [f"{layer:>5}   {auroc:<41}"]
    if direction.pair_cosine:
        cells.append(f"{cosine:>9}")
    cells += [f"{gap:>10}", f"{gap_to_norm:>10}"]
    if direction.effect:
        cells += [f"{strength:>10}", f"{effect:>9}"]
    return "".join(cells)
