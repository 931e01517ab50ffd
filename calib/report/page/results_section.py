"""The section of the page with every setting on test, and its rates by part."""

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from calib.config.method import SettingKey
from calib.data.splits import PAIRED_QUERIES
from calib.report.page.markup import tag
from calib.report.page.swatch import swatch
from calib.report.page.table_cells import (
    STACKED,
    mapping_text,
    number_cell,
    rate_cell,
    rate_heading,
    table,
)
from calib.report.paired import setting_name
from calib.report.sentences import count_cell
from calib.report.terminal_tables import distinct_slices
from calib.report.verdict import KL_DIRECTIONS, RATES, cut_shares, kl_metric, mean_kl, rate_at
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_names
from calib.scoring.results import ALL, BASELINE, Result
from calib.scoring.tradeoff import Point

MAX_UNFOLDED = 12
"""Maximum number of settings that are shown unfolded; of more, the chosen ones are."""
_PART_METRICS = shown_names("report_parts")
_DUAL_USE_METRICS = shown_names("dual_use")


def results_section(runs: Sequence[Run]) -> Markup:
    """Return the sortable table of every setting on test, with its parts folded away."""
    skipped = 0 if len(runs) > 1 else 1  # the column of runs
    metric = kl_metric([result for run in runs for result in run.results])
    kl = f"{KL_DIRECTIONS[metric]}, nats"
    cut = [cut_shares(run) for run in runs]
    cut_rates = [
        rate for rate in ("SRA", "utility")
        if any(rate in by_rate and by_rate[rate].value for shares in cut for by_rate in
               shares.values())
    ]  # fmt: skip
    head = ("Run", "Method", "Layer", "Strength", *map(rate_heading, RATES),
            *(f"{rate}: cut" for rate in cut_rates), kl, "n (clusters) of SRA",
            "n of utility")  # fmt: skip
    caption = (
        f"Every setting on the test split; {mapping_text(runs)}. Rates in percent with 95% "
        "intervals"
    )
    meanings = ". ".join(f"{name}: {label}" for name, label in RATES.items())
    legend = (
        f"{meanings}. KL: of the first response token against the uncalibrated model, mean over "
        "utility questions."
    )
    if any(not method.choice.kept_baseline for run in runs for method in run.methods):
        legend += " “Chosen” is the operating point, selected on validation."
    if cut_rates:
        legend += (
            " “Cut”: share of the responses behind the rate that were cut at max_new_tokens; what "
            "follows the cut does not count, so that the rate may be off by as much."
        )
    rows = [
        (reported, tag("tr", *cells[skipped:]))
        for run, shares in zip(runs, cut, strict=True)
        for reported, cells in _setting_cells(run, metric, shares, cut_rates)
    ]
    text_columns = 2 - skipped
    tables = [table(caption, head[skipped:], [row for _, row in rows], text_columns, STACKED)]
    if len(rows) > MAX_UNFOLDED:
        own = [row for reported, row in rows if reported]
        every = tag("details", tag("summary", f"All {len(rows)} settings on the test split"),
                    *tables)  # fmt: skip
        chosen = caption.replace("Every setting", "The uncalibrated model and the chosen settings")
        tables = [table(chosen, head[skipped:], own, text_columns, STACKED), every]
    return tag(
        "section",
        tag("h2", "Results", id="results-title"),
        tables[0],
        tag("p", legend, class_="quiet"),
        *tables[1:],
        *(_parts(run, several=len(runs) > 1) for run in runs),
        aria_labelledby="results-title",
    )


def _setting_cells(
    run: Run,
    metric: str,
    cut: Mapping[SettingKey, Mapping[str, Interval]],
    cut_rates: Sequence[str],
) -> Iterable[tuple[bool, list[Markup]]]:
    """Yield the cells of each setting, and whether it is uncalibrated or chosen."""
    methods = {method.name: method for method in run.methods}
    kl_by_setting = mean_kl(run.results, metric)
    chosen = {m.tested.key for m in run.methods if not m.choice.kept_baseline}
    kept = bool(run.methods) and all(m.choice.kept_baseline for m in run.methods)
    for point in run.tested:
        is_baseline = point.method == BASELINE
        mark = []
        if is_baseline:
            mark = [" ", tag("span", "kept" if kept else "baseline", class_="mark")]
        elif point.key in chosen:
            mark = [" ", tag("span", "chosen", class_="mark chosen")]
        kl = kl_by_setting.get(point.key)
        questions = point.utility.n if point.utility else 0
        own = methods.get(point.method)
        name: list[str] = [] if own is None else [swatch(own.name, own.prompt_only)]
        name.append("uncalibrated" if is_baseline else point.method)
        yield (
            is_baseline or point.key in chosen,
            [
                tag("td", run.name),
                tag("th", *name, *mark, scope="row"),
                number_cell("–" if point.layer is None else str(point.layer), point.layer),
                number_cell(f"{point.strength:+.4g}" if point.strength else "0", point.strength),
                *(rate_cell(rate_at(point, name)) for name in RATES),
                *(rate_cell(cut[point.key].get(rate)) for rate in cut_rates),
                number_cell("–" if kl is None else f"{kl:.3f}", kl),
                number_cell(count_cell(point.sra), point.sra.n),
                number_cell(count_cell(point.utility) if point.utility else "0", questions),
            ],
        )


def _parts(run: Run, several: bool) -> Markup:
    """Return tables by part, variant and category: uncalibrated and at each operating point."""
    points = [run.baseline, *(m.tested for m in run.methods if not m.choice.kept_baseline)]
    tested = [r for r in run.results if r.split == REPORTED_SPLIT and r.dataset != ALL]
    tables = [
        _part_table(dataset, [r for r in tested if r.dataset == dataset], points, run.mapping)
        for dataset in dict.fromkeys(r.dataset for r in tested)
    ]
    name = f", {run.name}" if several else ""
    return tag("details", tag("summary", f"By part, variant and category{name}"), *tables)


def _part_table(
    dataset: str, results: Sequence[Result], points: Sequence[Point], mapping: str
) -> Markup:
    measured = {r.metric for r in results}
    metrics = _DUAL_USE_METRICS if dataset == "dual_use" else _PART_METRICS
    names = [name for name in metrics if name in measured]
    slices: dict[tuple[str, str], dict[tuple[object, str], Result]] = {}
    for r in results:
        slices.setdefault((r.variant, r.category), {})[r.key, r.metric] = r
    rows = []
    for (variant, category), rates in distinct_slices(slices).items():
        for point in points:
            own = [rates.get((point.key, name)) for name in names]
            if not any(own):
                continue
            setting = "uncalibrated" if point.method == BASELINE else setting_name(point)
            cells = [rate_cell(r.interval) if r else number_cell("–", None) for r in own]
            widest = max((r.interval for r in own if r), key=lambda interval: interval.n)
            rows.append(
                tag("tr", tag("td", variant), tag("th", category, scope="row"), tag("td", setting),
                    *cells, number_cell(count_cell(widest), widest.n))
            )  # fmt: skip
    if not rows:
        return Markup("")
    head = ("Variant", "Category", "Setting", *names, "n (clusters)")
    named = f", mapping={mapping}" if dataset in PAIRED_QUERIES else ""
    return table(
        f"{dataset}, test split{named}, in percent", head, rows, text_columns=3, style=STACKED
    )
