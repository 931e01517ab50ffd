"""The first thing on the page: did calibration help, and what did it cost?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from calib.report.comparison import area_of
from calib.report.page.changes import PairChanges, change, headline, sentences
from calib.report.page.markup import Html, tag
from calib.report.verdict import against_prompt, named, shown_difference, sign
from calib.runs.operating_points import ReportedMethod
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.significance import holm, paired_p_value
from calib.scoring.tradeoff import Point

LEVEL = 0.05
MOST = 8
"""Verdicts shown open; more are folded away."""


@dataclass(frozen=True)
class ReportVerdict:
    """A method of a run and what it changed on test."""

    found: Run
    method: ReportedMethod

    @cached_property
    def change(self) -> PairChanges:
        return change(self.found, self.method.tested, self.found.baseline)

    @cached_property
    def area(self) -> float:
        """What its strengths at its layer gain: the terminal ranks by it, too."""
        found = self.found
        return area_of(found.tested, found.baseline, self.method.name, self.method.layer)

    @cached_property
    def p(self) -> float:
        """Of its change of SRA, not adjusted; nan where nothing was chosen."""
        both = self.change.columns
        if self.method.choice.kept_baseline or both is None:
            return math.nan
        return paired_p_value(both.new, both.old, both.clusters, both.groups)


def verdicts(found: Run) -> list[ReportVerdict]:
    """The methods of a run, ranked as the terminal ranks them: by area, then by name."""
    all_ = [ReportVerdict(found, method) for method in found.methods]
    return sorted(all_, key=lambda one: (-round(one.area, 9), one.method.name))


def verdict_section(runs: Sequence[Run], ranked: Sequence[Sequence[ReportVerdict]]) -> Html:
    """In plain words, for each run: the answer, what it rests on, and the numbers."""
    parts = [
        _of_run(found, of_run, len(runs) > 1) for found, of_run in zip(runs, ranked, strict=True)
    ]
    return tag(
        "section",
        tag("h2", "Did calibration help, and what did it cost?", id="verdict-title"),
        *parts,
        class_="verdict",
        aria_labelledby="verdict-title",
    )


def _of_run(found: Run, ranked: Sequence[ReportVerdict], several: bool) -> Html:
    heading = [tag("h3", found.name)] if several else []
    if not ranked:
        said = (
            "No method was asked for: this run measured the uncalibrated model alone "
            f"({_rates(found.baseline)})."
        )
        return tag("div", *heading, tag("p", said), class_="answer")
    own = [one for one in ranked if not one.method.reference]
    if len(own) == 1:
        return tag("div", *heading, *_single(own[0], ranked), class_="answer")
    return tag("div", *heading, *_several(found, ranked), class_="answer")


def _single(one: ReportVerdict, ranked: Sequence[ReportVerdict]) -> list[Html]:
    parts = [
        tag("p", f"{headline(one.method, one.change)}.", class_="headline"),
        tag("p", sentences(one.method, one.change)),
    ]
    if one.method.choice.kept_baseline:
        return [*parts, tag("p", f"Uncalibrated: {_rates(one.found.baseline)}.")]
    parts.append(_before_and_after(one))
    if one.change.columns:
        parts.append(tag("p", one.change.columns.power(), class_="quiet"))
    return [*parts, _against_prompts(one, ranked)]


def _rates(point: Point) -> str:
    rates = (("SRA", point.sra), ("SRA_u", point.sra_u), ("SRA_s", point.sra_s),
             ("utility", point.utility))  # fmt: skip
    shown = [
        f"{name} {shown_rate(rate)}, n = {rate.n:,}" for name, rate in rates if rate and rate.n
    ]
    return "; ".join(shown)


_LINES = (
    ("SRA", "mean of the two below", "sra"),
    ("SRA_u", "unsafe queries handled safely", "sra_u"),
    ("SRA_s", "safe queries answered", "sra_s"),
    ("Utility", "questions answered right", "utility"),
)


def _before_and_after(one: ReportVerdict) -> Html:
    rows = []
    for name, means, attribute in _LINES:
        difference: Interval | None = getattr(one.change, attribute)
        before: Interval | None = getattr(one.found.baseline, attribute)
        after: Interval | None = getattr(one.method.tested, attribute)
        one_side = attribute == "sra" and one.change.rate != "SRA"
        if difference is None or before is None or after is None or one_side:
            continue
        way = {1: "up", 0: "same", -1: "down"}[sign(difference)]
        rows.append(
            tag(
                "tr",
                tag("th", name, tag("span", means, class_="quiet"), scope="row"),
                tag("td", percent(before.value)),
                tag("td", percent(after.value)),
                tag("td", f"{shown_difference(difference)}", class_=way),
                tag("td", f"{difference.n:,}"),
            )
        )
    if one.change.utility is None:
        cells = [tag("td", "not measured", colspan="4")]
        rows.append(tag("tr", tag("th", "Utility", scope="row"), *cells))
    names = ("", "uncalibrated", "calibrated", "difference in points (95% CI)", "n")
    head = [tag("th", name, scope="col") if name else tag("td") for name in names]
    caption = tag("caption", f"Test split, {named(one.method.tested)}, chosen on validation")
    table = tag("table", caption, tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", table, class_="scroll", tabindex="0", role="region",
               aria_label="Before and after")  # fmt: skip


def _several(found: Run, ranked: Sequence[ReportVerdict]) -> list[Html]:
    moved = [one for one in ranked if not one.method.choice.kept_baseline]
    adjusted = dict(
        zip((one.method.name for one in moved), holm([one.p for one in moved]), strict=True)
    )
    better = [
        one for one in moved if sign(one.change.sra) > 0 and adjusted[one.method.name] < LEVEL
    ]
    worse = [one for one in moved if sign(one.change.sra) < 0]
    count = f"{len(better)} of {len(ranked)} methods"
    rate = ranked[0].change.rate
    parts = [
        tag(
            "p",
            f"{'Yes' if better else 'No'}: {count} measurably raised {rate}.",
            class_="headline",
        )
    ]
    if better:
        best = better[0]
        parts.append(tag("p", f"Best of them: {sentences(best.method, best.change)}"))
        parts.append(_against_prompts(best, ranked))
    if worse:
        names = ", ".join(one.method.name for one in worse)
        parts.append(tag("p", f"Lowered {rate}: {names}."))
    kept = [one.method.name for one in ranked if one.method.choice.kept_baseline]
    if kept:
        parts.append(
            tag("p", f"No setting was better than uncalibrated on validation: {', '.join(kept)}.")
        )
    parts.append(tag("p", f"Uncalibrated: {_rates(found.baseline)}."))
    items = [
        tag("li", tag("strong", f"{one.method.name}: {headline(one.method, one.change)}. "),
            sentences(one.method, one.change))
        for one in ranked
    ]  # fmt: skip
    parts.append(
        tag(
            "details",
            tag("summary", f"All {len(ranked)} methods in words, ranked"),
            tag("ol", *items),
            tag(
                "p",
                "Ranked by area: what the method's strengths at its layer gain over the "
                "uncalibrated model in the plane of calibration and utility (hypervolume). A "
                f"method counts as having raised {rate} when its 95% interval excludes zero and "
                "its p-value, adjusted over all methods (Holm), is below 0.05.",
                class_="quiet",
            ),
            open=len(ranked) <= MOST,
        )
    )
    return parts


def _against_prompts(one: ReportVerdict, ranked: Sequence[ReportVerdict]) -> Html:
    """Changing the prompt costs nothing to build: what it reaches is the bar to beat."""
    prompts = [other for other in ranked if other.method.prompt_only]
    if one.method.prompt_only:
        others = len(ranked) > len(prompts)
        said = "It changes the prompt alone" + (
            ": no method that edits activations ranks above it." if others else "."
        )
        return tag("p", said)
    if not prompts:
        return tag(
            "p", "No prompt-only method was asked in this run, so the bar to beat is not known."
        )
    bar = min(prompts, key=lambda other: other.method.choice.kept_baseline).method.applied
    new = change(one.found, one.method.tested, bar)
    said = against_prompt(one.method.tested, new.sra, new.utility, new.rate)
    return tag("p", f"The bar to beat, changing the prompt alone: {named(bar)}. {said}")


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def shown_rate(rate: Interval) -> str:
    """A rate with its interval, in percent."""
    if not rate.n:
        return "not measured"
    if math.isnan(rate.low):
        return f"{percent(rate.value)} (interval n/a)"
    return f"{percent(rate.value)} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
