"""The card of an exported direction: what it is, what it was measured to do, what it is not."""

from collections.abc import Sequence

from calib.directions.direction import Direction
from calib.report.terminal import printable
from calib.scoring.results import BASELINE, Result
from calib.vlm.load import MINI

_SHOWN = ("SRA_u", "SRA_s", "SRA", "utility", "KL")


def direction_card(direction: Direction, results: Sequence[Result], file: str) -> str:
    """Markdown; ``results`` are the test totals of the run it comes from, if there is one."""
    gap, norm = float(direction.gap[0]), float(direction.norm[0])
    adds = f"{gap:.4g} along a unit vector ({gap / norm:.3f} of the mean norm)"
    organism = (
        "\nmini-internvl is a small model organism trained by calib on a procedural world. Nothing "
        "here is a result on a published model.\n"
        if direction.checkpoint == MINI
        else ""
    )
    return f"""# Steering direction for {_plain(direction.checkpoint)}
{organism}
| | |
|---|---|
| checkpoint | {_plain(direction.checkpoint)} (revision {direction.revision or "none given"}) |
| fingerprint | {direction.fingerprint} |
| site | {direction.site}: the output of decoder block {direction.layers} (0-based) |
| operator | {direction.operator} |
| estimator | {direction.estimator}, contrast {direction.contrast} |
| read at | {direction.read_positions} |
| edited positions | {direction.positions} |
| unit of strength | {direction.unit}: 1.0 adds {adds} |
| default strength | {direction.strength:g}{_kept(direction)} |
| fitted on | {direction.pairs} pairs, pair set {direction.pair_set} |
| held-out AUROC | {_auroc(direction)} |

{_table(direction, results)}
## Use

    python -m calib.sweep method=steer method.direction={file}

The file fits this checkpoint only; calib refuses it for any other. Steering changes refusals in
both directions: measure over-refusal and helpfulness on your own data before relying on it.
"""


def _kept(direction: Direction) -> str:
    note = " (no setting beat the uncalibrated model on validation)"
    return note if direction.strength == 0 else ""


def _auroc(direction: Direction) -> str:
    if not direction.auroc:
        return "not measured"
    low, high = direction.auroc_intervals[0]
    n = direction.auroc_pairs
    return f"{direction.auroc[0]:.3f} (95% CI {low:.3f} to {high:.3f}, n={n} pairs)"


def _table(direction: Direction, results: Sequence[Result]) -> str:
    lines = []
    for strength in sorted({r.strength for r in results}):
        at = {
            r.metric: r
            for r in results
            if r.strength == strength
            and r.layer in (None, direction.chosen_layer)
            and r.dataset in ("all", "utility")
        }
        name = "uncalibrated" if any(r.method == BASELINE for r in at.values()) else f"{strength:g}"
        cells = [
            f"{at[m].value:.3f} ({at[m].low:.3f} to {at[m].high:.3f})" if m in at else ""
            for m in _SHOWN
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = f"| strength | {' | '.join(_SHOWN)} |\n|---|{'---|' * len(_SHOWN)}"
    return "## Measured on the test split (95% CI)\n\n" + "\n".join([head, *lines]) + "\n"


def _plain(text: str) -> str:
    # The name may come from anywhere; in Markdown it must stay one plain cell.
    return printable(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
