"""The page's recommendation: what to switch on, its gain, its cost, and how it can be deployed."""

from collections.abc import Sequence

from markupsafe import Markup

from calib.report.page.deployment import deployment
from calib.report.page.markup import tag
from calib.report.page.swatch import swatch
from calib.report.ranking import MethodVerdict
from calib.report.recommendation import recommend
from calib.runs.run import Run


def recommendation_section(
    runs: Sequence[Run], ranked: Sequence[Sequence[MethodVerdict]]
) -> Markup:
    """Return the recommendation for each run that has methods; empty without any.

    ``ranked`` holds the methods of each run, best first. The button prints the page's heading and
    this section alone, on one sheet.
    """
    parts = [
        part
        for run, methods in zip(runs, ranked, strict=True)
        for part in _advice(run, methods, len(runs) > 1)
    ]
    if not parts:
        return Markup("")
    button = tag("button", "Print this on one page", type="button", id="print-one", hidden=True)
    return tag("section", tag("h2", "Recommendation", id="recommendation-title"), *parts, button,
               class_="recommendation", aria_labelledby="recommendation-title")  # fmt: skip


def _advice(run: Run, ranked: Sequence[MethodVerdict], several: bool) -> list[Markup]:
    advice = recommend(ranked)
    if advice is None:
        return []
    best = advice.verdict
    mark = [swatch(best.method.name, best.method.prompt_only)] if best else []
    parts = [tag("h3", run.name)] if several else []
    parts += [
        tag("p", *mark, advice.action, class_="action"),
        tag("p", unbroken(advice.gain)),
        tag("p", unbroken(advice.cost)),
        tag("p", tag("strong", "How sure: "), advice.basis, class_="quiet"),
    ]
    if best is not None and advice.switch_on:
        ways = deployment(best).items()
        items = (part for way, how in ways for part in (tag("dt", way), tag("dd", how)))
        parts += [tag("p", tag("strong", "How it can be deployed:"), class_="quiet"),
                  tag("dl", *items, class_="ways")]  # fmt: skip
    return parts


def unbroken(text: str) -> str:
    """Keep each n and its number on one line."""
    return text.replace("n = ", "n\u00a0=\u00a0")
