"""What a fitted direction looks like in the terminal: layer by layer what it tells and does."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path

from calib.directions.direction import Direction
from calib.report.terminal import WIDTH, written
from calib.util.terminal import terminal_safe

_CONTRASTS = {
    "safety": "unsafe against safe",
    "refusal": "refused against answered",
    "responses": "refusals against answers to the same queries",
    "modality": "with the picture against without",
}
_PAIRED = ("safety", "modality")


def direction_table(direction: Direction, files: Mapping[str, Path]) -> str:
    """One line per layer, at most 100 columns wide.

    Held-out AUROC with its interval, how much the pairs agree, gap, gap as a share of the
    activations' norm, and what steering there does within the budget of KL, where these are known.
    """
    counted = "pairs" if direction.contrast in _PAIRED else "examples of the smaller side"
    contrast = _CONTRASTS.get(direction.contrast, direction.contrast)
    fitted = (
        f"{direction.estimator}, {contrast}, {direction.site} read at {direction.read_positions}, "
        f"fitted on {direction.pairs} {counted}"
    )
    lines = [
        "",
        *_entry("Checkpoint", terminal_safe(direction.checkpoint, WIDTH - 12)),
        *_entry("Direction", terminal_safe(fitted)),
    ]
    if direction.effect:
        lines += _entry(
            "Effect",
            "points by which refusals rise from the negative to the positive strength, each within "
            f"{direction.effect_kl:g} nats of KL at the first token (n = {direction.effect_n}); "
            "strength is the positive one",
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
    lines += [_layer(direction, row) for row in range(len(direction.layers))]
    lines.append("")
    lines += written(files)
    return "\n".join(lines) + "\n"


def _entry(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12)


def _layer(direction: Direction, row: int) -> str:
    separability = "not measured (no validation pairs)"
    if direction.auroc:
        low, high = direction.auroc_intervals[row]
        separability = f"{direction.auroc[row]:.3f}  ({low:.3f} to {high:.3f})"
    gap, norm = float(direction.gap[row]), float(direction.norm[row])
    return _line(
        direction,
        f"{direction.layers[row]}",
        separability,
        _known(direction.pair_cosine[row], ".3f") if direction.pair_cosine else "",
        f"{gap:.4g}",
        f"{gap / norm:.3f}",
        _known(direction.effect_strength[row], "+.3g") if direction.effect else "",
        _known(100 * direction.effect[row], "+.1f") if direction.effect else "",
    )


def _known(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _line(
    direction: Direction,
    layer: str,
    separability: str,
    cosine: str,
    gap: str,
    share: str,
    strength: str,
    effect: str,
) -> str:
    """The cells of a line, without the columns of what was not measured at any layer."""
    cells = [f"{layer:>5}   {separability:<41}"]
    if direction.pair_cosine:
        cells.append(f"{cosine:>9}")
    cells += [f"{gap:>10}", f"{share:>10}"]
    if direction.effect:
        cells += [f"{strength:>10}", f"{effect:>9}"]
    return "".join(cells)
