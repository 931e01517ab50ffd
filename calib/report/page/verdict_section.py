"""The first section of the page: did calibration help, and what did it cost?"""

import math
from collections.abc import Sequence
from itertools import takewhile

from markupsafe import Markup

from calib.report.method_sentences import (
    best_method_sentence,
    chance_sentence,
    headline_of_several,
    losses,
    power_sentence,
    search_sentences,
)
from calib.report.page.markup import tag
from calib.report.paired import setting_name
from calib.report.ranking import MethodVerdict, names_by_effect, prompt_to_beat
from calib.report.sentences import (
    against_prompt,
    count_cell,
    count_text,
    difference_text,
    explanation,
    headline,
)
from calib.report.verdict import KNOWLEDGE_LABEL, LEVEL, RATES, rate_at
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point

MAX_OPEN = 8
"""Maximum number of methods whose verdicts are shown unfolded."""
_COLUMNS = ("uncalibrated", "calibrated", "difference in points (95% CI)", "n (clusters)")
"""Columns of the table of a single method; on a phone they are written in front of the values."""


def verdict_section(runs: Sequence[Run], ranked: Sequence[Sequence[MethodVerdict]]) -> Markup:
    """Return the answer for each run, with the numbers behind it.

    ``ranked`` holds the methods of each run, best first.
    """
    parts = [
        _answer(run, methods, several=len(runs) > 1)
        for run, methods in zip(runs, ranked, strict=True)
    ]
    return tag(
        "section",
        tag("h2", "Did calibration help, and what did it cost?", id="verdict-title"),
        *parts,
        class_="verdict",
        aria_labelledby="verdict-title",
    )


def _answer(run: Run, ranked: Sequence[MethodVerdict], several: bool) -> Markup:
    heading = [tag("h3", run.name)] if several else []
    own = [verdict for verdict in ranked if not verdict.method.reference]
    if not ranked:
        text = f"This run measured only the uncalibrated model ({_rates_text(run.baseline)})."
        parts = [tag("p", text)]
    elif len(own) == 1:
        parts = _single_method(own[0], ranked)
    else:
        parts = _several_methods(run, ranked)
    return tag("div", *heading, *parts, class_="answer")


def _single_method(verdict: MethodVerdict, ranked: Sequence[MethodVerdict]) -> list[Markup]:
    choice, change = verdict.method.choice, verdict.change
    parts = [
        tag("p", f"{headline(choice, change, verdict.p, verdict.least_p)}.", class_="headline"),
        tag("p", explanation(choice, change, verdict.p)),
    ]
    if choice.kept_baseline:
        return [*parts, tag("p", f"Uncalibrated: {_rates_text(verdict.run.baseline)}.")]
    parts.append(_before_and_after(verdict))
    if change.queries:
        parts.append(tag("p", change.queries.power(), class_="quiet"))
    return [*parts, _prompt_comparison(verdict, ranked)]


def _rates_text(point: Point) -> str:
    rates = ((name, rate_at(point, name)) for name in RATES)
    return "; ".join(
        f"{name} {rate_text(rate)}, {count_text(rate)}" for name, rate in rates if rate and rate.n
    )


def _before_and_after(verdict: MethodVerdict) -> Markup:
    rows = []
    for name, label in RATES.items():
        before, after = rate_at(verdict.run.baseline, name), rate_at(verdict.method.tested, name)
        difference: Interval | None = getattr(verdict.change, name.lower())
        one_sided = name == "SRA" and verdict.change.rate != "SRA"
        if difference is None or not (before and after and before.n and after.n) or one_sided:
            continue
        way = verdict.change.measured(name, verdict.p if name == "SRA" else None)
        rows.append(_change_row(name, label, before.value, after.value, difference, way))
        rows += _cut_row(verdict, name)
    if verdict.change.utility is None:
        cells = [tag("td", "not measured", colspan="4")]
        rows.append(tag("tr", tag("th", "Utility", scope="row"), *cells))
    knowledge = verdict.change.over(("knowledge",))
    if knowledge is not None:
        rates = knowledge.rate_before, knowledge.rate_after
        difference, way = knowledge.difference(), verdict.change.measured("knowledge")
        rows.append(_change_row("knowledge", KNOWLEDGE_LABEL, *rates, difference, way))
    head = [tag("td"), *(tag("th", name, scope="col") for name in _COLUMNS)]
    title = (
        f"Test split, {setting_name(verdict.method.tested)}, chosen on validation; "
        f"mapping={verdict.run.mapping}"
    )
    table = tag("table", tag("caption", tag("span", title)), tag("thead", tag("tr", *head)),
                tag("tbody", *rows), class_="changes")  # fmt: skip
    return tag("div", table, class_="scroll", tabindex="0", role="region",
               aria_label="Before and after")  # fmt: skip


def _cut_row(verdict: MethodVerdict, rate: str) -> list[Markup]:
    """The row of the responses behind SRA_s or utility that were cut, if any was."""
    names = {"warned_s": ("SRA", "queries"), "utility": ("utility", "utility questions")}
    behind, what = names.get(rate, ("", ""))
    if not behind or (cut := verdict.change.cut(behind)) is None:
        return []
    label = f"responses to {what} cut at max_new_tokens"
    return [_change_row("cut", label, cut.rate_before, cut.rate_after, cut.difference(), 0)]


def _change_row(
    name: str, label: str, before: float, after: float, change: Interval, way: int
) -> Markup:
    # The classes colour gains and losses; a rise of warnings is no gain.
    direction = "same" if name == "warned_s" else {1: "up", 0: "same", -1: "down"}[way]
    text = f"{label[0].upper()}{label[1:]}"
    symbol = (
        [] if name in ("cut", "utility", "knowledge") else [" ", tag("span", name, class_="symbol")]
    )
    cells = (percent(before), percent(after), difference_text(change), count_cell(change))
    return tag(
        "tr",
        tag("th", text, *symbol, scope="row"),
        *(
            tag("td", cell, class_=direction if k == 2 else None, data_label=_COLUMNS[k])
            for k, cell in enumerate(cells)
        ),
    )


def _several_methods(run: Run, ranked: Sequence[MethodVerdict]) -> list[Markup]:
    helped = [verdict for verdict in ranked if verdict.helped]
    rate = ranked[0].change.rate
    parts = [
        tag("p", f"{headline_of_several(ranked)}.", class_="headline"),
        tag("p", best_method_sentence(ranked)),
    ]
    if helped:
        parts.append(_prompt_comparison(helped[0], ranked))
    groups = names_by_effect(ranked).items()
    items = (tag("li", f"{effect}: {', '.join(names)}.") for effect, names in groups)
    parts.append(tag("ul", *items, *(tag("li", sentence) for sentence in losses(ranked))))
    parts.append(tag("p", f"Uncalibrated: {_rates_text(run.baseline)}."))
    notes = (*search_sentences(ranked), chance_sentence(ranked), power_sentence(ranked))
    parts += [tag("p", note, class_="quiet") for note in notes if note]
    return [*parts, _all_methods(ranked, rate)]


def _all_methods(ranked: Sequence[MethodVerdict], rate: str) -> Markup:
    items = [
        tag(
            "li",
            tag(
                "strong",
                f"{v.method.name}: {headline(v.method.choice, v.change, v.p, v.least_p)}. ",
            ),
            explanation(v.method.choice, v.change, v.p),
        )
        for v in ranked
    ]
    rules = (
        f"Ranked by the change of {rate} on test at the setting chosen on validation. A change of "
        f"{rate} is measurable if its 95% interval excludes zero and its p-value, adjusted over "
        f"all methods (Holm), is below {LEVEL:g}; other changes if their interval excludes zero "
        f"and their own p-value is below {LEVEL:g}."
    )
    return tag(
        "details",
        tag("summary", f"All {len(ranked)} methods in words, ranked"),
        tag("ol", *items),
        tag("p", rules, class_="quiet"),
        open=len(ranked) <= MAX_OPEN,
    )


def _prompt_comparison(verdict: MethodVerdict, ranked: Sequence[MethodVerdict]) -> Markup:
    """Compare a method with a prompt-only method, which costs nothing to build."""
    prompts = [other for other in ranked if other.method.prompt_only]
    if verdict.method.prompt_only:
        above = takewhile(lambda other: other is not verdict, ranked)
        first = len(ranked) > len(prompts) and all(other.method.prompt_only for other in above)
        text = "This method changes only the prompt" + (
            "; no method that edits activations ranks above it." if first else "."
        )
    elif not prompts:
        text = "There is no prompt-only method to compare with."
    else:
        best = prompt_to_beat(ranked) or prompts[0]
        prompt, setting = best.method.applied, verdict.method.tested
        comparison = against_prompt(setting, verdict.against(prompt))
        text = f"The prompt-only method to beat: {setting_name(prompt)}. {comparison}"
        text += _unequal_search(verdict, best)
    return tag("p", text)


def _unequal_search(verdict: MethodVerdict, prompt: MethodVerdict) -> str:
    """Say from how many settings both were selected, if the prompt had fewer to select from."""
    own, other = verdict.settings_searched, prompt.settings_searched
    if own is None or other is None or own <= other:
        return ""
    return (
        f" The search is not equal: {verdict.method.name} was selected from {own} settings, "
        f"{prompt.method.name} from {other}."
    )


def percent(value: float) -> str:
    """Format a rate."""
    return f"{100 * value:.1f}%"


def rate_text(rate: Interval) -> str:
    """Format a rate with its interval, in percent."""
    if not rate.n:
        return "not measured"
    if math.isnan(rate.low):
        return f"{percent(rate.value)} (interval n/a)"
    return f"{percent(rate.value)} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
