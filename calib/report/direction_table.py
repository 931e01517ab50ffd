"""What a fitted direction looks like in the terminal: separability and size, layer by layer."""

from collections.abc import Mapping
from pathlib import Path

from calib.directions.direction import Direction
from calib.report.terminal import printable

_CONTRASTS = {"safety": "unsafe against safe", "refusal": "refused against answered"}
_COUNTED = {"safety": "pairs", "refusal": "examples of the smaller side"}


def direction_table(direction: Direction, files: Mapping[str, Path]) -> str:
    """One line per layer: held-out AUROC with its interval, gap and activation norm."""
    lines = [
        "",
        f"Checkpoint  {printable(direction.checkpoint)}",
        f"Direction   {direction.estimator}, {_CONTRASTS[direction.contrast]}, read at "
        f"{direction.read_positions}, fitted on {direction.pairs} {_COUNTED[direction.contrast]}",
        "",
        f"layer   held-out AUROC (95% CI, n={direction.auroc_pairs} a side)     gap   gap / norm",
        "-" * 72,
    ]
    for row, layer in enumerate(direction.layers):
        separability = "not measured (no validation pairs)"
        if direction.auroc:
            low, high = direction.auroc_intervals[row]
            separability = f"{direction.auroc[row]:.3f}  ({low:.3f} to {high:.3f})"
        gap, norm = float(direction.gap[row]), float(direction.norm[row])
        lines.append(f"{layer:>5}   {separability:<38} {gap:>7.2f}   {gap / norm:>10.3f}")
    lines.append("")
    width = max(map(len, files))
    lines += [f"{what:<{width}}  {printable(str(path))}" for what, path in files.items()]
    return "\n".join(lines) + "\n"
