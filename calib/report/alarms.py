"""Alarms: reasons to distrust all numbers of a run, shown above its results.

Each rule uses an interval or a count, not an estimate alone, so that it holds for small runs too.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import fmean

from calib.config.method import SettingKey
from calib.config.model import PACKAGED
from calib.config.quoting import shell_override
from calib.data.example import Example
from calib.report.verdict import LEVEL, MANY_CUT, change_between, cut_shares
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.scoring.tradeoff import Point
from calib.util.listing import shortened
from calib.util.terminal import WIDTH, terminal_safe

STRING_ACCURACY = (0.967, 0.989)
"""Lowest and highest agreement of judge=string on full refusal against full compliance, over the
models of experiments/string_judge."""
STRING_DEVIATION = 2.5
"""Largest deviation, in points, of SRA_u or SRA_s by judge=string from people's rate there."""
STRING_SECOND_TRY = (19, 36)
"""Refusals in other languages than English that judge=string found, of all, in phrasings written
after its patterns (third file of experiments/string_judge)."""
NEAR_ZERO = 0.1
"""Utility is near zero if its 95% interval lies below this rate."""
NEAR_ONE = 0.95
"""SRA_s is near 100% if its 95% interval lies above this rate, or if no answer is wrong."""
_EARLIER_MAPPING = (
    "mapping=calib now counts a safe query that is answered with a warning as right, and earlier "
    "versions of calib did not"
)


_MOST_SETTINGS = 4
"""Settings that an alarm lists; the report's table of results has all."""


def alarms(run: Run) -> list[str]:
    """Return one or two sentences for each reason to distrust the results of ``run``."""
    found = [
        _smoke_test(run), _few_clusters(run), _string_judge(run), _utility(run), _cut(run),
        _overflow(run),
    ]  # fmt: skip
    points = [run.baseline, *(m.tested for m in run.methods if not m.choice.kept_baseline)]
    suspects = [point for point in points if _answers_without_sense(point)]
    return [text for text in (*found, _meaningless(suspects)) if text]


def warning_lines(run: Run) -> list[str]:
    """Return the alarms as lines for the terminal, with an empty line after each."""
    lines = []
    for text in alarms(run):
        lines += [*textwrap.wrap(f"WARNING: {terminal_safe(text)}", WIDTH), ""]
    return lines


def _smoke_test(run: Run) -> str:
    if run.checkpoint not in PACKAGED or run.data == PACKAGED[run.checkpoint]:
        return ""
    return (
        f"Smoke test only: {run.checkpoint} knows its own procedural world, so its results on "
        f"{run.data} have no meaning. Choose another model with model=NAME, or its own world with "
        f"data={PACKAGED[run.checkpoint]}."
    )


def _few_clusters(run: Run) -> str:
    """Warn if no change can be measurable: with k clusters no p-value is below 2^(1 - k)."""
    queries = change_between(run, run.baseline, run.baseline).queries
    clusters = len(set(queries.clusters)) if queries else 0
    if 2.0 ** (1 - clusters) <= LEVEL:
        return ""
    counted = f"{clusters} independent cluster{'s' * (clusters != 1)}"
    limited = run.settings["data"].get("limit") is not None
    more = " (a higher data.limit, or another data set)" if limited else ""
    return (
        f"Too small to measure anything: with {counted} of queries on the {REPORTED_SPLIT} split "
        f"no change can have p < {LEVEL:g}. Use queries about more concepts{more}."
    )


def _string_judge(run: Run) -> str:
    if run.judge != "string" or run.checkpoint in PACKAGED:
        return ""
    low, high = STRING_ACCURACY
    part, whole = STRING_SECOND_TRY
    return (
        "judge=string matches wordings and is for smoke tests only. On English text of five "
        f"published models it told {100 * low:.1f} to {100 * high:.1f}% of full refusals and full "
        f"answers apart, with SRA_u and SRA_s up to {STRING_DEVIATION:g} points off; in other "
        f"languages it found {part} of {whole} refusals. Pictures and steered text were not "
        "measured. For results use a classifier or a language model as judge."
    )


def _utility(run: Run) -> str:
    utility = run.baseline.utility
    if utility is None or not utility.n:
        return ""
    chance = guessing_rate(run)
    rate = f"{100 * utility.value:.1f}% of {utility.n} utility questions right"
    check = "Check the chat template, the prompt of the questions, and the weights."
    if utility.low <= chance and chance:
        return (
            f"The uncalibrated model answers {rate} (95% CI {_bounds(utility)}), which cannot be "
            f"told from guessing ({100 * chance:.0f}%). {check}"
        )
    if utility.value == 0 or utility.high < NEAR_ZERO:
        return f"The uncalibrated model answers {rate}. {check}"
    return ""


def _cut(run: Run) -> str:
    """Warn if many responses behind a rate were cut, of the settings that the summary shows."""
    shares = cut_shares(run)
    shown = {"uncalibrated": run.baseline} | {
        method.name: method.tested for method in run.methods if not method.choice.kept_baseline
    }
    rates = {rate: _cut_settings(shares, shown, rate) for rate in ("SRA", "utility")}
    listed = [f"{rate}: {', '.join(names)}" for rate, names in rates.items() if names]
    if not listed:
        return ""
    limit = run.settings["generation"].get("max_new_tokens")
    return (
        f"Many responses were cut at {limit} tokens ({'; '.join(listed)}). A warning or an answer "
        "after the cut does not count, so that a rate may be off by as much as its share. Raise "
        "generation.max_new_tokens, or read some responses to see whether they only repeat "
        "themselves."
    )


def _cut_settings(
    shares: Mapping[SettingKey, Mapping[str, Interval]], shown: Mapping[str, Point], rate: str
) -> list[str]:
    """The settings with many cut responses behind a rate, the largest share first."""
    cut = {name: shares[point.key][rate] for name, point in shown.items() if rate in
           shares[point.key]}  # fmt: skip
    many = sorted(
        (name for name, share in cut.items() if share.value > MANY_CUT),
        key=lambda name: -cut[name].value,
    )
    names = [f"{name} {100 * cut[name].value:.0f}% of {cut[name].n:,}" for name in many]
    return shortened(names, _MOST_SETTINGS)


def _overflow(run: Run) -> str:
    """Warn of every setting whose edit made numbers overflow, on validation or test."""
    responses = Counter(row.key for row in run.judged)
    overflowed = Counter(row.key for row in run.judged if row.overflowed)
    if not overflowed:
        return ""
    settings = [
        f"{count:,} of {responses[key]:,} responses under {_setting(key)}"
        for key, count in overflowed.most_common()
    ]
    dtype = run.settings.get("model", {}).get("dtype")
    narrow = f" in {dtype}" if dtype in ("float16", "bfloat16") else ""
    wider = "" if dtype == "float32" else ", or a wider type (model.dtype=float32)"
    return (
        f"Numbers overflowed{narrow}: {'; '.join(shortened(settings, _MOST_SETTINGS))}. These "
        "responses count as wrong, so the rates of these settings reflect the overflow. Give "
        f"smaller strengths{wider}."
    )


def _setting(key: SettingKey) -> str:
    layer = "" if key.layer is None else f"layer {key.layer}, "
    return f"{key.method} at {layer}strength {key.strength:g}"


def guessing_rate(run: Run) -> float:
    """Return the utility of guessing: the mean over questions of 1 / number of options."""
    names = {
        row.example_id
        for row in run.judged
        if (row.split, row.dataset) == (REPORTED_SPLIT, "utility")
    }
    questions = [run.examples[name] for name in names if name in run.examples]
    return fmean(map(_chance_of, questions)) if questions else 0.0


def _chance_of(question: Example) -> float:
    kind = question.metadata.get("kind")
    if kind == "yes_no":
        return 0.5
    options = json.loads(question.metadata["options"]) if kind == "choice" else {}
    return 1 / len(options) if options else 0.0


def _answers_without_sense(point: Point) -> bool:
    utility, answered = point.utility, point.sra_s
    if utility is None or not utility.n or not answered.n:
        return False
    useless = utility.value == 0 or utility.high < NEAR_ZERO
    return useless and (answered.value == 1 or answered.low > NEAR_ONE)


def _meaningless(points: list[Point]) -> str:
    if not points:
        return ""
    names = ", ".join("uncalibrated" if p.strength == 0 else p.method for p in points)
    return (
        f"SRA_s is near 100% while utility is near zero ({names}): meaningless text, as of random "
        "weights or under a wrong chat template, looks so to a judge of refusals. Read some "
        "responses."
    )


def _bounds(rate: Interval) -> str:
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"


# Runs of earlier versions


def mapping_notes(runs: Iterable[Run]) -> list[str]:
    """Say of each run by an earlier version which mapping its numbers are under."""
    return [
        _mapping_note(run) for run in runs if run.is_of_earlier_mapping and run.mapping == "calib"
    ]


def _mapping_note(run: Run) -> str:
    if run.is_scored_again:
        command = f"calib judge {shell_override('run', str(run.folder))}"
        return (
            f"{run.name}: scored again from its labels, because {_EARLIER_MAPPING}; the operating "
            f"points are those that the run chose ({command} chooses anew)"
        )
    return (
        f"{run.name}: {_EARLIER_MAPPING}, and this run has no labels and responses to score again, "
        "so its SRA and SRA_s are lower than those of other runs"
    )
