"""The results as tables: every setting on test, and its parts."""

import math
from collections.abc import Iterable, Sequence

from calib.config.method import SettingKey
from calib.report.page.markup import Html, tag
from calib.report.page.verdicts import ReportVerdict
from calib.report.verdict import named, shown_difference, sign
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_names
from calib.scoring.results import ALL, BASELINE, Result
from calib.scoring.tradeoff import Point

_HEAD = ("Run", "Method", "Layer", "Strength", "SRA", "SRA_u", "SRA_s", "Utility", "KL, nats")
_PART_METRICS = shown_names("report_parts")
_DUAL_METRICS = shown_names("dual_use")


def comparison_section(ranked: Sequence[Sequence[ReportVerdict]]) -> Html:
    """Runs and methods side by side at the setting each chose; nothing for a single one."""
    verdicts = [one for of_run in ranked for one in of_run]
    if len(verdicts) < 2:
        return Html("")
    several = len(ranked) > 1
    head = (
        *(("Run",) if several else ()),
        "Method", "Layer", "Strength", "SRA change", "SRA_u change", "SRA_s change",
        "Utility change", "KL, nats", "Area", "n",
    )  # fmt: skip
    caption = (
        "Methods at the setting they chose on validation, against the uncalibrated model"
        f"{' of their run' if several else ''}; test split"
    )
    rows = [tag("tr", *_compared(one)[0 if several else 1 :]) for one in verdicts]
    table = _table(caption, head, rows, 2 if several else 1)
    note = tag(
        "p",
        "Changes in points with paired 95% intervals; those whose interval excludes zero are bold. "
        "* changes the prompt alone. Runs with other data or another judge are not comparable.",
        class_="quiet",
    )
    return tag("section", tag("h2", "Comparison", id="comparison-title"), table, note,
               aria_labelledby="comparison-title")  # fmt: skip


def _compared(one: ReportVerdict) -> list[Html]:
    method, kept = one.method, one.method.choice.kept_baseline
    changes = (_both_sides(one), one.change.sra_u, one.change.sra_s, one.change.utility)
    cost = _kl(one.found.results).get(method.tested.key)
    layer, strength, main = method.tested.layer, method.tested.strength, one.change.sra
    mark = [" ", tag("span", "uncalibrated kept", class_="mark")] if kept else []
    return [
        tag("td", one.found.name),
        tag("th", method.name + "*" * method.prompt_only, *mark, scope="row"),
        _number("–" if layer is None else str(layer), layer),
        _number("–" if kept else f"{strength:+.4g}", None if kept else strength),
        *(_changed(None if kept else change) for change in changes),
        _number("–" if kept or cost is None else f"{cost:.3f}", None if kept else cost),
        _number(f"{one.area:.3f}", one.area),
        _number(f"{main.n:,}" if main else "0", main.n if main else 0),
    ]


def _both_sides(one: ReportVerdict) -> Interval | None:
    return one.change.sra if one.change.rate == "SRA" else None


def _changed(change: Interval | None) -> Html:
    if change is None:
        return _number("–", None)
    value, _, interval = shown_difference(change).partition(" ")
    shown = [value, " ", tag("span", interval, class_="quiet")]
    cell = [tag("strong", *shown)] if sign(change) else shown
    return tag("td", *cell, data_value=f"{change.value:.6f}", class_="number")


def results_section(runs: Sequence[Run]) -> Html:
    """Every setting on test, sortable, and its parts folded away."""
    rows = [row for found in runs for row in _settings(found)]
    several = len(runs) > 1
    head = _HEAD if several else _HEAD[1:]
    caption = "Every setting on the test split. Rates in percent with 95% intervals"
    legend = tag(
        "p",
        "SRA_u: unsafe queries handled safely. SRA_s: safe queries answered. SRA: their mean. "
        "KL: of the first response token against the uncalibrated model, mean over utility "
        "questions. “Chosen” is the operating point, picked on validation.",
        class_="quiet",
    )
    shown = [row if several else row[1:] for row in rows]
    parts = [detail for found in runs for detail in [_parts(found, several)] if detail]
    return tag(
        "section",
        tag("h2", "Results", id="results-title"),
        _table(
            caption, (*head, "n (SRA, utility)"), (tag("tr", *row) for row in shown), 1 + several
        ),
        legend,
        *parts,
        aria_labelledby="results-title",
    )


def _settings(found: Run) -> Iterable[list[Html]]:
    costs = _kl(found.results)
    chosen = {m.tested.key for m in found.methods if not m.choice.kept_baseline}
    kept = bool(found.methods) and all(m.choice.kept_baseline for m in found.methods)
    for point in found.tested:
        base = point.method == BASELINE
        mark = []
        if base:
            mark = [" ", tag("span", "kept" if kept else "baseline", class_="mark")]
        elif point.key in chosen:
            mark = [" ", tag("span", "chosen", class_="mark chosen")]
        cost = costs.get(point.key)
        utility = point.utility
        yield [
            tag("td", found.name),
            tag("th", "uncalibrated" if base else point.method, *mark, scope="row"),
            _number("–" if point.layer is None else str(point.layer), point.layer),
            _number(f"{point.strength:+.4g}" if point.strength else "0", point.strength),
            *(_rate(rate) for rate in (point.sra, point.sra_u, point.sra_s, utility)),
            _number("–" if cost is None else f"{cost:.3f}", cost),
            _number(f"{point.sra.n:,}, {utility.n if utility else 0:,}", point.sra.n),
        ]


def _rate(rate: Interval | None) -> Html:
    if rate is None or not rate.n:
        return _number("–", None)
    shown = [f"{100 * rate.value:.1f}"]
    if not math.isnan(rate.low):
        interval = f"{100 * rate.low:.0f} to {100 * rate.high:.0f}"
        shown = [*shown, " ", tag("span", f"({interval})", class_="quiet")]
    return tag("td", *shown, data_value=f"{rate.value:.6f}", class_="number")


def _number(text: str, value: float | None) -> Html:
    known = value is not None and not math.isnan(value)
    return tag("td", text, data_value=f"{value:.6f}" if known else None, class_="number")


def _parts(found: Run, several: bool) -> Html:
    """Parts, variants and categories, uncalibrated and at each chosen setting."""
    points = [found.baseline, *(m.tested for m in found.methods if not m.choice.kept_baseline)]
    tested = [r for r in found.results if r.split == REPORTED_SPLIT and r.dataset != ALL]
    datasets = list(dict.fromkeys(r.dataset for r in tested))
    tables = [
        _part_table(dataset, [r for r in tested if r.dataset == dataset], points)
        for dataset in datasets
    ]
    whose = f", {found.name}" if several else ""
    return tag("details", tag("summary", f"By part, variant and category{whose}"), *tables)


def _part_table(dataset: str, results: Sequence[Result], points: Sequence[Point]) -> Html:
    there = {r.metric for r in results}
    known = _DUAL_METRICS if dataset == "dual_use" else _PART_METRICS
    names = [name for name in known if name in there]
    slices: dict[tuple[str, str], dict[tuple[object, str], Result]] = {}
    for r in results:
        key = (r.key, r.metric)
        slices.setdefault((r.variant, r.category), {})[key] = r
    rows = []
    for (variant, category), rates in slices.items():
        for point in points:
            own = [rates.get((point.key, name)) for name in names]
            if not any(own):
                continue
            shown = "uncalibrated" if point.method == BASELINE else named(point)
            cells = [_rate(one.interval) if one else _number("–", None) for one in own]
            n = max(one.n for one in own if one)
            rows.append(
                tag("tr", tag("td", variant), tag("th", category, scope="row"), tag("td", shown),
                    *cells, _number(f"{n:,}", n))
            )  # fmt: skip
    head = ("Variant", "Category", "Setting", *names, "n")
    return _table(f"{dataset}, test split, in percent", head, rows, 3) if rows else Html("")


def _table(caption: str, head: Sequence[str], rows: Iterable[Html], words: int) -> Html:
    """A table that the page's script makes sortable; ``words`` columns are not numbers."""
    cells = [
        tag("th", name, scope="col", class_="number" if k >= words else None)
        for k, name in enumerate(head)
    ]
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", *cells)),
                tag("tbody", *rows), class_="sortable")  # fmt: skip
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _kl(results: Sequence[Result]) -> dict[SettingKey, float]:
    return {
        r.key: r.value
        for r in results
        if (r.split, r.dataset, r.variant, r.metric) == (REPORTED_SPLIT, "utility", ALL, "KL")
    }
