"""The recommendation of a report in the terminal."""

import textwrap
from collections.abc import Mapping, Sequence

from calib.report.advice.deployment import deployment
from calib.report.advice.recommendation import recommend
from calib.report.joint import JointRun
from calib.report.ranking import MethodVerdict
from calib.runs.run import Run
from calib.util.terminal import WIDTH, terminal_safe


def recommendation_lines(
    ranked: Sequence[MethodVerdict], sources: Mapping[str, tuple[Run, str]] | None = None
) -> list[str]:
    """Return the recommendation as lines of at most WIDTH columns; none without methods.

    ``ranked`` is from rank_methods, ``sources`` from a JointRun. The commands of deployment are
    longer than a line if a path is.
    """
    advice = recommend(ranked)
    if advice is None:
        return []
    texts = [advice.action, advice.gain, advice.cost, advice.prompt, f"How sure: {advice.basis}"]
    lines = [line for text in texts if text for line in textwrap.wrap(terminal_safe(text), WIDTH)]
    best = advice.verdict
    if best is None or not advice.switch_on:
        return lines
    ways = deployment(best, (sources or {}).get(best.method.name))
    width = max(map(len, ways))
    return [*lines, "To deploy it:",
            *(f"  {way:<{width}}  {terminal_safe(how)}" for way, how in ways.items())]  # fmt: skip


def joint_lines(joint: JointRun) -> list[str]:
    """Say over which runs a verdict is, and what was left out."""
    names = ", ".join(terminal_safe(run.name, 60) for run in joint.runs)
    first = f"One verdict over {len(joint.runs)} runs: {names}."
    return [line for text in (first, *joint.notes)
            for line in textwrap.wrap(terminal_safe(text), WIDTH)]  # fmt: skip
