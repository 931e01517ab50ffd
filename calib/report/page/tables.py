"""Tables of the page: methods compared, every setting on test, and its rates by part."""

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from calib.config.method import SettingKey
from calib.data.splits import PAIRED_QUERIES
from calib.report.page.markup import joined, tag
from calib.report.page.swatch import swatch
from calib.report.paired import setting_name
from calib.report.ranking import MethodVerdict, prompt_only_setting
from calib.report.sentences import count_cell, difference_text, p_text, rank_text
from calib.report.terminal_tables import distinct_slices
from calib.report.verdict import (
    KL_DIRECTIONS,
    PLAIN_NAMES,
    RATES,
    cut_shares,
    kl_metric,
    mean_kl,
    rate_at,
)
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.metrics import shown_names
from calib.scoring.results import ALL, BASELINE, Result
from calib.scoring.tradeoff import Point

MAX_UNFOLDED = 12
"""Maximum number of settings that are shown unfolded; of more, the chosen ones are."""
_STACKED = "sortable stacked"
_PART_METRICS = shown_names("report_parts")
_DUAL_USE_METRICS = shown_names("dual_use")


def comparison_section(ranked: Sequence[Sequence[MethodVerdict]]) -> Markup:
    """Return the table of all methods of all runs at their operating points.

    It is empty for a single method.
    """
    verdicts = [verdict for methods in ranked for verdict in methods]
    if len(verdicts) < 2:
        return Markup("")
    several = len({verdict.source for verdict in verdicts}) > 1
    joint = several and len(ranked) == 1
    metric = kl_metric([result for verdict in verdicts for result in verdict.run.results])
    sra, *others = (_rate_heading(name, "change") for name in RATES)
    head = ("Run", "Method", "Layer", "Strength", sra, "Rank (95% CI)", "p (Holm)", *others,
            "n (clusters)")  # fmt: skip
    more = ("Run", "Method", "Labels used for", "Searched", "Best of k by chance",
            f"{KL_DIRECTIONS[metric]}, nats")  # fmt: skip
    skipped = 0 if several else 1  # the column of runs
    caption = (
        "Methods at the setting they chose on validation, against the uncalibrated model"
        f"{' of their run' if len(ranked) > 1 else ''}; test split; "
        f"{mapping_text(verdict.run for verdict in verdicts)}"
    )
    shown = [_Shown(verdict) for verdict in verdicts]
    rows = [tag("tr", *_change_cells(each)[skipped:]) for each in shown]
    table = _table(caption, head[skipped:], rows, 2 - skipped, _STACKED)
    searches = [tag("tr", *_search_cells(each, metric)[skipped:]) for each in shown]
    search = _table("How each setting was searched, and its KL", more[skipped:], searches,
                    3 - skipped)  # fmt: skip
    notes = (
        "Changes in points with paired 95% intervals; bold if measurable: the interval excludes "
        "zero and p is below 0.05. p (Holm): sign-flipping test of the change of SRA, adjusted "
        f"over the methods of {'all runs' if joint else 'a run'}; in brackets unadjusted. * "
        "changes only the prompt; if the uncalibrated model was kept, its row shows the weakest "
        "setting, which other methods are compared with.",
        "Rank: its 95% interval, without the places of methods that are measurably better or "
        "worse. Runs with other data or another judge are not comparable.",
    )
    about_search = (
        "Searched: settings that the method chose from on validation. Best of k by chance: the "
        "gain of SRA that the best of the k settings run on test would show in 1 of 20 runs if "
        "none had an effect. Labels used for: where the method uses labels of examples."
    )
    return tag("section", tag("h2", "Comparison", id="comparison-title"), table,
               *(tag("p", note, class_="quiet") for note in notes),
               tag("details", tag("summary", "Labels, searched settings and KL by method"),
                   search, tag("p", about_search, class_="quiet")),
               aria_labelledby="comparison-title")  # fmt: skip


class _Shown:
    """A method at the setting that its row of the comparison shows."""

    def __init__(self, verdict: MethodVerdict) -> None:
        method, kept = verdict.method, verdict.method.choice.kept_baseline
        # A prompt-only method is what others are compared with, even if it was not chosen.
        prompt = prompt_only_setting(method) if kept and method.prompt_only else None
        self.verdict = verdict
        self.kept = kept
        self.hidden = kept and prompt is None
        self.point = method.tested if prompt is None else prompt
        self.change = verdict.change if prompt is None else verdict.change_at(prompt)

    def names(self) -> list[Markup]:
        """The cells of the run and of the method."""
        method = self.verdict.method
        mark = [" ", tag("span", "uncalibrated kept", class_="mark")] if self.kept else []
        name = method.name + "*" * method.prompt_only
        return [tag("td", self.verdict.source),
                tag("th", swatch(method.name, method.prompt_only), name, *mark,
                    scope="row")]  # fmt: skip


def _change_cells(shown: _Shown) -> list[Markup]:
    verdict, change = shown.verdict, shown.change
    adjusted = () if shown.kept else ("SRA",)
    ways = [
        (
            rate,
            0 if shown.hidden else change.measured(rate, verdict.p if rate in adjusted else None),
        )
        for rate in RATES
    ]
    if change.rate != "SRA":  # one side alone, which has its own column
        ways[0] = ("", 0)
    strength, sra = shown.point.strength, change.sra
    layer = verdict.method.layer if shown.hidden else shown.point.layer
    differences = [
        _difference(None if shown.hidden or not rate else getattr(change, rate.lower()), way)
        for rate, way in ways
    ]
    return [
        *shown.names(),
        _number("–" if layer is None else str(layer), layer),
        _number("–" if shown.hidden else f"{strength:+.4g}", None if shown.hidden else strength),
        differences[0],
        _number(rank_text(verdict.rank).replace("-", "–"), verdict.rank and verdict.rank.value),
        _p_values(verdict),
        *differences[1:],
        _number(count_cell(sra) if sra else "0", sra.n if sra else 0),
    ]


def _p_values(verdict: MethodVerdict) -> Markup:
    """The adjusted p-value with the unadjusted one below it."""
    if math.isnan(verdict.p):
        return _number("–", None)
    raw = tag("span", f"({p_text(verdict.unadjusted_p)})", class_="quiet")
    return tag("td", p_text(verdict.p), " ", raw, data_value=f"{verdict.p:.6f}", class_="number")


def _search_cells(shown: _Shown, metric: str) -> list[Markup]:
    verdict = shown.verdict
    searched, chance = verdict.settings_searched, verdict.chance
    gain = "–"
    if chance is not None:
        gain = f"{100 * chance.gain:.1f} (k = {chance.settings})"
    kl = None if shown.hidden else mean_kl(verdict.run.results, metric).get(shown.point.key)
    return [
        *shown.names(),
        tag("td", "nothing" if verdict.supervision == "none" else verdict.supervision or "–"),
        _number("–" if searched is None else str(searched), searched),
        _number(gain, chance.gain if chance else None),
        _number("–" if kl is None else f"{kl:.3f}", kl),
    ]


def _difference(change: Interval | None, way: int) -> Markup:
    if change is None:
        return _number("–", None)
    value, _, interval = difference_text(change).partition(" ")
    parts = [value, " ", tag("span", interval, class_="quiet")]
    cell = [tag("strong", *parts)] if way else parts
    return tag("td", *cell, data_value=f"{change.value:.6f}", class_="number")


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
    head = ("Run", "Method", "Layer", "Strength", *map(_rate_heading, RATES),
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
    tables = [_table(caption, head[skipped:], [row for _, row in rows], text_columns, _STACKED)]
    if len(rows) > MAX_UNFOLDED:
        own = [row for reported, row in rows if reported]
        every = tag("details", tag("summary", f"All {len(rows)} settings on the test split"),
                    *tables)  # fmt: skip
        chosen = caption.replace("Every setting", "The uncalibrated model and the chosen settings")
        tables = [_table(chosen, head[skipped:], own, text_columns, _STACKED), every]
    return tag(
        "section",
        tag("h2", "Results", id="results-title"),
        tables[0],
        tag("p", legend, class_="quiet"),
        *tables[1:],
        *(_parts(run, several=len(runs) > 1) for run in runs),
        aria_labelledby="results-title",
    )


def _rate_heading(name: str, what: str = "") -> Markup:
    """The heading of a column: a rate in plain words with its symbol."""
    plain = PLAIN_NAMES[name]
    symbol = [] if plain == name else [" ", tag("span", name, class_="symbol")]
    return joined([f"{plain[0].upper()}{plain[1:]}", *symbol, f" {what}" if what else ""])


def mapping_text(runs: Iterable[Run]) -> str:
    """Return mapping=NAME, with every name if runs differ."""
    return f"mapping={', '.join(sorted({run.mapping for run in runs}))}"


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
                _number("–" if point.layer is None else str(point.layer), point.layer),
                _number(f"{point.strength:+.4g}" if point.strength else "0", point.strength),
                *(_rate(rate_at(point, name)) for name in RATES),
                *(_rate(cut[point.key].get(rate)) for rate in cut_rates),
                _number("–" if kl is None else f"{kl:.3f}", kl),
                _number(count_cell(point.sra), point.sra.n),
                _number(count_cell(point.utility) if point.utility else "0", questions),
            ],
        )


def _rate(rate: Interval | None) -> Markup:
    if rate is None or not rate.n:
        return _number("–", None)
    parts: list[str] = [f"{100 * rate.value:.1f}"]
    if not math.isnan(rate.low):
        interval = f"({100 * rate.low:.0f} to {100 * rate.high:.0f})"
        parts += [" ", tag("span", interval, class_="quiet")]
    return tag("td", *parts, data_value=f"{rate.value:.6f}", class_="number")


def _number(text: str, value: float | None) -> Markup:
    known = value is not None and not math.isnan(value)
    return tag("td", text, data_value=f"{value:.6f}" if known else None, class_="number")


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
            cells = [_rate(r.interval) if r else _number("–", None) for r in own]
            widest = max((r.interval for r in own if r), key=lambda interval: interval.n)
            rows.append(
                tag("tr", tag("td", variant), tag("th", category, scope="row"), tag("td", setting),
                    *cells, _number(count_cell(widest), widest.n))
            )  # fmt: skip
    if not rows:
        return Markup("")
    head = ("Variant", "Category", "Setting", *names, "n (clusters)")
    named = f", mapping={mapping}" if dataset in PAIRED_QUERIES else ""
    return _table(
        f"{dataset}, test split{named}, in percent", head, rows, text_columns=3, style=_STACKED
    )


def _table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Markup],
    text_columns: int,
    style: str = "sortable",
) -> Markup:
    """Return a table that the page's script makes sortable; the first columns hold text.

    "stacked" in ``style`` puts intervals below their values.
    """
    cells = [
        tag("th", name, scope="col", class_="number" if k >= text_columns else None)
        for k, name in enumerate(head)
    ]
    table = tag("table", tag("caption", tag("span", caption)), tag("thead", tag("tr", *cells)),
                tag("tbody", *rows), class_=style)  # fmt: skip
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
