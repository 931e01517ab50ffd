"""The page's section by part: rates of each setting, and how the parts' directions separate."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from calib.directions.part_table import (
    Cells,
    at_best_layer,
    at_layer,
    auroc_text,
    disagreements,
    parts_path,
    sentence,
)
from calib.directions.parts import PartSeparation
from calib.report.page.markup import joined, tag
from calib.report.page.swatch import swatch
from calib.report.part_rates import rate_names, rates_by_part
from calib.report.verdict import plain_name
from calib.runs.run import Run
from calib.runs.run_files import DIRECTIONS
from calib.scoring.intervals import Interval


def parts_section(runs: Sequence[Run]) -> Markup:
    """Return tables by part of the benchmark; empty if no run has more than one part."""
    parts = []
    for run in runs:
        own = [*_rates(run), *_directions(run)]
        heading = [tag("h3", run.name)] if own and len(runs) > 1 else []
        parts += [*heading, *own]
    if not parts:
        return Markup("")
    return tag("section", tag("h2", "By part", id="parts-title"), *parts,
               aria_labelledby="parts-title")  # fmt: skip


def _rates(run: Run) -> list[Markup]:
    rows = rates_by_part(run)
    if not rows:
        return []
    parts = list(rows[0].rates)
    head = [
        "Setting",
        *(f"{part}, {plain_name(name)}" for part in parts for name in rate_names(part)),
    ]
    marks = {m.name: swatch(m.name, m.prompt_only) for m in run.methods}
    body = [
        [
            joined([marks.get(row.name, ""), row.name]),
            *(_rate(rate) for part in parts for rate in row.rates[part]),
        ]
        for row in rows
    ]
    body.append(["n (clusters)", *(_size(rate) for part in parts for rate in rows[0].rates[part])])
    caption = (
        f"Each method at its operating point, test split, mapping={run.mapping}, in percent with "
        "95% intervals"
    )
    return [_table(caption, head, body)]


def _rate(rate: Interval) -> str:
    if not rate.n:
        return "–"
    if math.isnan(rate.low):
        return f"{100 * rate.value:.1f}"
    interval = tag("span", f"({100 * rate.low:.0f} to {100 * rate.high:.0f})", class_="quiet")
    return joined([f"{100 * rate.value:.1f} ", interval])


def _size(rate: Interval) -> str:
    return f"{rate.n:,}" if rate.clusters is None else f"{rate.n:,} ({rate.clusters:,})"


def _directions(run: Run) -> list[Markup]:
    """Return a folded table for each direction; those about which parts disagree come first."""
    found = [
        (name, at_best_layer(separations), separations)
        for name, separations in run.part_separations.items()
    ]
    found.sort(key=lambda each: not disagreements(each[1]))
    return [_direction(run, *each) for each in found if each[1]]


def _direction(run: Run, name: str, cells: Cells, separations: Sequence[PartSeparation]) -> Markup:
    direction = run.directions[name]
    path = parts_path(run.folder / DIRECTIONS / f"{name}.safetensors")
    title = sentence(f"{direction.contrast} direction ({direction.estimator})", separations, path)
    best = next(iter(cells.values())).layer
    tables = [_at_layer(cells, "where the parts' own directions separate best")]
    for layer, methods in _edited_layers(run).items():
        edited = at_layer(separations, layer)
        if layer != best and edited:
            tables.append(_at_layer(edited, f"operating point of {', '.join(methods)}"))
    return tag("details", tag("summary", title[0].upper() + title[1:]), *tables)


def _edited_layers(run: Run) -> dict[int, list[str]]:
    """Return the layers of the operating points, with the names of their methods."""
    layers: dict[int, list[str]] = {}
    for point in run.operating_points:
        if point["layer"] is not None and not point.get("kept_uncalibrated"):
            layers.setdefault(int(point["layer"]), []).append(str(point["method"]))
    return dict(sorted(layers.items()))


def _at_layer(cells: Cells, reason: str) -> Markup:
    """Return the table of one layer; ``reason`` says why this layer is shown."""
    fitted, measured = (list(dict.fromkeys(key[k] for key in cells)) for k in (0, 1))
    rows = []
    for part in fitted:
        own = [cells[part, other] for other in measured]
        rows.append([f"fitted on {part}", *(_separation(each) for each in own)])
    counts = [cells[fitted[0], other] for other in measured]
    rows.append(["n (clusters)", *(f"{each.n:,} ({each.clusters:,})" for each in counts)])
    caption = (
        f"AUROC of validation examples at layer {counts[0].layer} ({reason}), with 95% intervals "
        "by cluster; cos: cosine with the direction fitted on the column's part"
    )
    return _table(caption, ["Direction", *measured], rows)


def _separation(each: PartSeparation) -> str:
    text = auroc_text(each)
    same = each.fitted_on == each.measured_on
    return text if same or math.isnan(each.cosine) else f"{text}, cos {each.cosine:+.2f}"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table; the first cell of each row is its name."""
    titles = [tag("th", head[0], scope="col")]
    titles += [tag("th", name, scope="col", class_="number") for name in head[1:]]
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", c, class_="number") for c in row[1:]))
        for row in rows
    ]
    table = tag("table", tag("caption", tag("span", caption)), tag("thead", tag("tr", *titles)),
                tag("tbody", *body), class_="stacked")  # fmt: skip
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
