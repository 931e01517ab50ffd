"""The section of the page that compares methods at their operating points."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from calib.report.page.markup import tag
from calib.report.page.swatch import swatch
from calib.report.page.table_cells import STACKED, mapping_text, number_cell, rate_heading, table
from calib.report.ranking import MethodVerdict, prompt_only_setting
from calib.report.sentences import count_cell, difference_text, p_text, rank_text
from calib.report.verdict import KL_DIRECTIONS, RATES, kl_metric, mean_kl
from calib.scoring.intervals import Interval


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
    sra, *others = (rate_heading(name, "change") for name in RATES)
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
    compared = table(caption, head[skipped:], rows, 2 - skipped, STACKED)
    searches = [tag("tr", *_search_cells(each, metric)[skipped:]) for each in shown]
    search = table("How each setting was searched, and its KL", more[skipped:], searches,
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
    return tag("section", tag("h2", "Comparison", id="comparison-title"), compared,
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
        number_cell("–" if layer is None else str(layer), layer),
        number_cell(
            "–" if shown.hidden else f"{strength:+.4g}", None if shown.hidden else strength
        ),
        differences[0],
        number_cell(rank_text(verdict.rank).replace("-", "–"), verdict.rank and verdict.rank.value),
        _p_values(verdict),
        *differences[1:],
        number_cell(count_cell(sra) if sra else "0", sra.n if sra else 0),
    ]


def _p_values(verdict: MethodVerdict) -> Markup:
    """The adjusted p-value with the unadjusted one below it."""
    if math.isnan(verdict.p):
        return number_cell("–", None)
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
        number_cell("–" if searched is None else str(searched), searched),
        number_cell(gain, chance.gain if chance else None),
        number_cell("–" if kl is None else f"{kl:.3f}", kl),
    ]


def _difference(change: Interval | None, way: int) -> Markup:
    if change is None:
        return number_cell("–", None)
    value, _, interval = difference_text(change).partition(" ")
    parts = [value, " ", tag("span", interval, class_="quiet")]
    cell = [tag("strong", *parts)] if way else parts
    return tag("td", *cell, data_value=f"{change.value:.6f}", class_="number")
