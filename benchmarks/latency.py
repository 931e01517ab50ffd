"""Latency of what a user waits for: start-up, scoring, the string judge and the report.

    python -m benchmarks.latency

Every number is a ratio to a named baseline, measured in alternation with it, so that it hardly
depends on the machine. Scoring and judging are measured in CPU time, programs in wall time.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.timing import Ready, alternate, ratio
from calib.judges.string import judge_string
from calib.scoring.judged import Judged
from calib.scoring.score import score

CHECKOUT = Path(__file__).parents[1]
RUN = (
    "method=reminder",
    "judge=string",
    "data.limit=60",
    "utility.limit=20",
    "generation.max_new_tokens=4",
)
"""Arguments of the sweep whose report is opened."""
LONG = 50_000
"""Characters of the shorter response of each pair that the string judge labels."""
HOSTILE = {"words": "i ", "quotes": '"', "thinking tags": "<think>", "one word": "a"}
"""Text that responses repeat; each once made a regular expression slow."""


def main() -> None:
    """Print the table and the ratios; write results/latency.csv."""
    report.one_thread()
    known = report.circumstances()
    lines = [start_up(), *scoring(), *judging(), *opening()]
    report.show(lines)
    print(f"\nwritten to {report.save('latency', lines, known).name}\n")
    print(*(f"{line['latency']}={line['ratio']:.2f}".replace(" ", "_") for line in lines))


def start_up(repetitions: int = 7) -> dict[str, Any]:
    """``--help`` of the largest command / a Python process that only imports Hydra."""
    command = partial(_python, "-m", "calib.sweep", "--help")
    baseline = partial(_python, "-c", "import hydra")
    return _line("start-up", command, "importing Hydra", baseline, repetitions, clock="wall")


def scoring(repetitions: int = 5) -> Iterator[dict[str, Any]]:
    """Scoring with clusters / without, and scoring ten times as many settings."""
    clustered, single = _grid(6, clusters=True), _grid(6, clusters=False)
    tenfold = partial(score, _grid(60, clusters=True))
    yield _line(
        "scoring, clustered", partial(score, clustered),
        "unclustered", partial(score, single), repetitions,
    )  # fmt: skip
    yield _line(
        "scoring, 60 settings", tenfold, "6 settings", partial(score, clustered), repetitions
    )


def _grid(settings: int, clusters: bool) -> list[Judged]:
    """330 queries in three variants at each setting; the variants of a query form a cluster."""
    rows = [
        Judged(
            example_id=f"{variant}/{k}", pair=f"{k}" if clusters else f"{variant}/{k}",
            dataset="text_centric", variant=variant, category=f"c{k % 9}", split="test",
            safety="unsafe" if k % 2 else "safe", method="steer", layer=3, strength=0.0,
            label=("refusal", "answer", "irrelevant")[k % 3], correct=None, kl=None,
        )
        for variant in ("text_only", "related", "unrelated")
        for k in range(330)
    ]  # fmt: skip
    return [replace(row, strength=float(k)) for k in range(settings) for row in rows]


def judging(repetitions: int = 5) -> Iterator[dict[str, Any]]:
    """Time of the string judge for twice the text: 2 is linear, 4 quadratic."""
    for name, part in HOSTILE.items():
        text = part * (LONG // len(part))
        yield _line(
            f"string judge, {name}", partial(judge_string, text + text),
            "half the text", partial(judge_string, text), repetitions,
        )  # fmt: skip


def opening(repetitions: int = 5) -> Iterator[dict[str, Any]]:
    """A report in Chromium until its first examples are shown / the same page without scripts."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("Chromium or playwright is missing: opening a report is not measured\n")
        return
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "run"
        _python("-m", "calib.sweep", *RUN, f"out={run}")
        _python("-m", "calib.report", f"runs=[{run}]")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        address = (run / "report.html").as_uri()
        yield _line(
            "report, first examples", partial(_open, browser, address, True),
            "without scripts", partial(_open, browser, address, False), repetitions, clock="wall",
        )  # fmt: skip
        with _page(browser, address, True) as page:
            yield _line(
                "report, search", partial(_search, page),
                "without scripts", partial(_open, browser, address, False), repetitions,
                clock="wall",
            )  # fmt: skip
        browser.close()


@contextmanager
def _page(browser: Any, address: str, scripts: bool) -> Iterator[Any]:
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(address)
    if scripts:
        page.locator(".card").first.wait_for()
    yield page
    context.close()


def _open(browser: Any, address: str, scripts: bool) -> None:
    with _page(browser, address, scripts):
        pass


def _search(page: Any) -> None:
    """Search for text that no example contains, then show all examples again."""
    page.fill("#search", "no example contains this text")
    page.locator(".card").first.wait_for(state="detached")
    page.fill("#search", "")
    page.locator(".card").first.wait_for()


def _python(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, *arguments], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL
    )


def _line(
    name: str,
    work: Callable[[], Any],
    baseline_name: str,
    baseline: Callable[[], Any],
    repetitions: int,
    clock: str = "cpu",
) -> dict[str, Any]:
    ways: dict[str, Ready] = {"measured": lambda: work, "baseline": lambda: baseline}
    work()  # warms up files and caches
    times = alternate(ways, repetitions)
    measured, base = (getattr(times[way], clock) for way in ("measured", "baseline"))
    middle, low, high = ratio(measured, base)
    return {
        "latency": name,
        "baseline": baseline_name,
        "ratio": middle,
        "lower": low,
        "upper": high,
        "n": repetitions,
        "clock": clock,
        "seconds": sorted(measured)[len(measured) // 2],
    }


if __name__ == "__main__":
    main()
