"""The page's recommendation: what to switch on, its gain, its cost, and how it can be deployed."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from calib.report.advice.deployment import deployment
from calib.report.advice.recommendation import recommend
from calib.report.joint import JointRun
from calib.report.page.markup import tag
from calib.report.page.swatch import swatch
from calib.report.ranking import MethodVerdict
from calib.runs.run import Run


def recommendation_section(
    runs: Sequence[Run],
    ranked: Sequence[Sequence[MethodVerdict]],
    joint: JointRun | None = None,
    apart: str = "",
) -> Markup:
    """Return the recommendation for each run that has methods; empty without any.

    ``ranked`` holds the methods of each run, best first. If ``joint`` is given, ``runs`` is its run
    alone; ``apart`` says why several runs have no joint verdict. The button prints the page's
    heading and this section alone, on one sheet.
    """
    sources = joint.sources if joint else {}
    parts = [
        part
        for run, methods in zip(runs, ranked, strict=True)
        for part in _advice(run, methods, len(runs) > 1, sources)
    ]
    if not parts:
        return Markup("")
    if joint:
        names = ", ".join(run.name for run in joint.runs)
        parts.insert(0, tag("p", f"One recommendation over {len(joint.runs)} runs: {names}."))
        parts += [tag("p", note, class_="quiet") for note in joint.notes]
    if apart:
        parts.insert(0, tag("p", apart, class_="warning", role="note"))
    button = tag("button", "Print this on one page", type="button", id="print-one", hidden=True)
    return tag("section", tag("h2", "Recommendation", id="recommendation-title"), *parts, button,
               class_="recommendation", aria_labelledby="recommendation-title")  # fmt: skip


def _advice(
    run: Run,
    ranked: Sequence[MethodVerdict],
    several: bool,
    sources: Mapping[str, tuple[Run, str]],
) -> list[Markup]:
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
        *([tag("p", unbroken(advice.prompt))] if advice.prompt else []),
        tag("p", tag("strong", "How sure: "), advice.basis, class_="quiet"),
    ]
    if best is not None and advice.switch_on:
        ways = deployment(best, sources.get(best.method.name)).items()
        items = (part for way, how in ways for part in (tag("dt", way), tag("dd", how)))
        parts += [tag("p", tag("strong", "To deploy it:"), class_="quiet"),
                  tag("dl", *items, class_="ways")]  # fmt: skip
    return parts


def unbroken(text: str) -> str:
    """Keep each n and its number on one line."""
    return text.replace("n = ", "n\u00a0=\u00a0")
