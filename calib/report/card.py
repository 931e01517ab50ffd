"""The Markdown card of an exported direction: its origin, its measured effect and its use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from calib.config.choices import DTYPES
from calib.config.model import MINI, PACKAGED
from calib.config.named_model import model_name
from calib.config.quoting import shell_override
from calib.directions.direction import Direction
from calib.directions.separation import CHANCE
from calib.interchange.importing import IMPORTED
from calib.interventions.steering import AXES, axis_of
from calib.report.sentences import count_cell
from calib.scoring.metrics import shown_names
from calib.scoring.results import BASELINE, Result
from calib.util.terminal import terminal_safe

_SITES = {
    "residual": "the output of",
    "heads": "the attention heads of",
    "mlp": "the MLP's output of",
}
CALIB_FITS = "The file fits this checkpoint only; calib refuses it for any other."
"""The note on compatible models for calib's own format."""
_METRICS = shown_names("card")
_COUNTED = {
    "n (clusters) of queries": ("SRA", "SRA_u", "SRA_s"),
    "n (clusters) of questions": ("utility", "KL"),
}
"""Columns of counts, and the metrics whose count they have: the first that was measured."""


def direction_card(
    direction: Direction,
    results: Sequence[Result],
    file: str,
    *,
    use: str = "",
    fits: str = CALIB_FITS,
    note: str = "",
) -> str:
    """Return the card of ``direction`` as Markdown.

    ``results`` are the test totals of the run it comes from, if there is one. ``file`` is its name,
    ``use`` the instructions for another program (by default the command of calib), ``fits`` the
    models that can use it, and ``note`` a paragraph to add.
    """
    model = model_name(direction.checkpoint)
    # A folder is in the current one, as the file is: the card may be read on another machine.
    weights = model if model == direction.checkpoint else f"./{PurePath(direction.checkpoint).name}"
    revision = _plain(direction.revision or "none given")
    layers = ", ".join(map(str, direction.layers))
    site = f"{_plain(direction.site)}: {_SITES.get(direction.site, '')} block {layers}"
    organism = (
        f"\n{direction.checkpoint} is a small model organism trained by calib on a procedural "
        "world. Nothing here is a result on a published model.\n"
        if direction.checkpoint in PACKAGED
        else ""
    )
    return f"""# Steering direction for {_plain(model)}
{organism}{_verdict(direction)}{_paragraph(note)}
| | |
|---|---|
| model | {_plain(model)} (revision {revision}) |
| fingerprint | {_plain(direction.fingerprint)} |
| site | {site} (0-based) |
| operator | {_plain(direction.operator)} |
| estimator | {_plain(direction.estimator)}, contrast {_plain(direction.contrast)} |
| read at | {_plain(direction.read_positions)} |
| edited positions | {_plain(direction.positions or "not recorded")} |
| unit of strength | {_unit(direction)} |
| default strength | {direction.strength:g}{_kept_note(direction)} |
| fitted on | {_fitted_on(direction)} |
| held-out AUROC | {_auroc(direction)} |

{_table(direction, results)}
## Use

{_indented(use or command_line(replace(direction, checkpoint=weights), file))}
{_paragraph(no_strength_note(direction, "" if use else "method.strengths"))}
{fits} Steering changes refusals in
both directions: measure over-refusal and helpfulness on your own data before relying on it.
"""


def _verdict(direction: Direction) -> str:
    return f"\n**Verdict of the run.** {_plain(direction.verdict)}\n" if direction.verdict else ""


def _paragraph(note: str) -> str:
    return f"\n{_plain(note)}\n" if note else ""


def _indented(text: str) -> str:
    return "\n".join(f"    {terminal_safe(line)}" for line in text.split("\n"))


def command_line(direction: Direction, file: str) -> str:
    """Return the command that steers with a direction file at the setting that was measured.

    It has no strength if the default is 0, which would change nothing; see no_strength_note.
    """
    chosen = direction.chosen_layer
    layers = direction.layers if chosen is None else [chosen]
    settings = [
        shell_override("method.direction", file),
        f"method.layers=[{','.join(map(str, layers))}]",
    ]
    if direction.strength:
        settings.append(f"method.strengths=[{direction.strength:g}]")
    if direction.positions:
        settings.append(shell_override("method.positions", direction.positions))
    if direction.operator != "add":
        settings.append(shell_override("method.operator", direction.operator))
    command = ["python -m calib.sweep", *_model_settings(direction), "method=steer", *settings]
    return terminal_safe(" ".join(command))


def _model_settings(direction: Direction) -> list[str]:
    """The settings of the model that a direction was read from; none of the default model."""
    if direction.checkpoint == MINI:
        return []
    settings = ["model=hf", shell_override("model.checkpoint", direction.checkpoint)]
    if direction.revision:
        settings.append(shell_override("model.revision", direction.revision))
    dtype = direction.origin.get("dtype", "bfloat16")
    if dtype in DTYPES and dtype != "bfloat16":  # the default of model=hf
        settings.append(f"model.dtype={dtype}")
    return settings


def no_strength_note(direction: Direction, setting: str = "method.strengths") -> str:
    """Say that a default strength of 0 changes nothing; "" for any other default.

    ``setting`` sets the strength where the direction is used; "" if that is up to another program.
    """
    if direction.strength:
        return ""
    choose = f"set {setting}" if setting else "choose a strength"
    return (
        "The default strength is 0, which changes nothing: a run that keeps the uncalibrated model "
        f"chooses no strength. To steer, {choose}."
    )


def card_path(file: Path) -> Path:
    """Return where the card of an exported or imported file, or of a checkpoint, is written.

    The name has all of the file's, so that files in several formats keep their own cards.
    """
    return file / "README.md" if file.is_dir() else file.with_name(f"{file.name}.md")


def _unit(direction: Direction) -> str:
    """Return the effect of strength 1, or the meaning of strength for operators without a gap."""
    known = direction.operator if direction.operator in AXES else "add"
    axis = axis_of(known, direction)
    if direction.estimator == IMPORTED and axis == axis_of("add", direction):
        lengths = ", ".join(f"{length:.4g}" for length in direction.gap.tolist())
        return f"{axis.meaning}, whose length is {lengths}"
    if axis != AXES["add"]:
        return axis.meaning
    gap, norm = float(direction.gap[0]), float(direction.norm[0])
    # An imported direction has no mean norm of activations.
    share = f" ({gap / norm:.3f} of the mean norm)" if norm else ""
    adds = f"{gap:.4g} along a unit vector{share}"
    return f"{_plain(direction.unit)}: 1.0 adds {adds}"


def _fitted_on(direction: Direction) -> str:
    if not direction.pairs and not direction.pair_set:
        return "unknown pairs"
    return f"{_plain(direction.pairs)} pairs, pair set {_plain(direction.pair_set)}"


def _kept_note(direction: Direction) -> str:
    note = " (no setting beat the uncalibrated model on validation)"
    return note if direction.strength == 0 else ""


def _auroc(direction: Direction) -> str:
    if not direction.auroc:
        return "not measured"
    low, high = direction.auroc_intervals[0]
    n = f"n={_plain(direction.auroc_pairs)} pairs"
    if direction.auroc_clusters:
        n += f" in {_plain(direction.auroc_clusters)} independent clusters"
    chance = f"; not above chance ({CHANCE})" if low <= CHANCE else ""
    return f"{direction.auroc[0]:.3f} (95% CI {low:.3f} to {high:.3f}, {n}){chance}"


def _table(direction: Direction, results: Sequence[Result]) -> str:
    lines = []
    totals = [
        r
        for r in results
        if r.layer in (None, direction.chosen_layer) and r.dataset in ("all", "utility")
    ]
    for strength in sorted({r.strength for r in totals}):
        rates = {r.metric: r for r in totals if r.strength == strength}
        baseline = any(r.method == BASELINE for r in rates.values())
        cells = [
            f"{rates[m].value:.3f} ({rates[m].low:.3f} to {rates[m].high:.3f})"
            if m in rates
            else ""
            for m in _METRICS
        ]
        name = "uncalibrated" if baseline else f"{strength:g}"
        lines.append(f"| {' | '.join([name, *cells, *_counts(rates)])} |")
    if not lines:
        return ""
    names = ["strength", *_METRICS, *_COUNTED]
    head = f"| {' | '.join(names)} |\n|{'---|' * len(names)}"
    named = sorted({r.mapping for r in totals if r.mapping and r.metric in _METRICS})
    mapping = "".join(f", mapping={name}" for name in named)
    return f"## Measured on the test split (95% CI){mapping}\n\n" + "\n".join([head, *lines]) + "\n"


def _counts(rates: Mapping[str, Result]) -> list[str]:
    """Return n, and the number of clusters in brackets, of the queries and of the questions."""
    cells = []
    for names in _COUNTED.values():
        counted = [rates[name].interval for name in names if name in rates]
        cells.append(count_cell(counted[0]) if counted else "0")
    return cells


def _plain(value: object) -> str:
    # Fields of the header are untrusted. In Markdown each must stay one plain cell, without links,
    # pictures, emphasis or HTML. terminal_safe removes line breaks.
    text = terminal_safe(str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\`*_\[\]()#|~!]", r"\\\g<0>", text)
