"""Sortable tables of the page: their cells, and the headings of their columns."""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from calib.report.page.markup import joined, tag
from calib.report.verdict import PLAIN_NAMES
from calib.runs.run import Run
from calib.scoring.intervals import Interval

STACKED = "sortable stacked"
"""Style of a table whose intervals are below their values."""


def rate_heading(name: str, what: str = "") -> Markup:
    """The heading of a column: a rate in plain words with its symbol."""
    plain = PLAIN_NAMES[name]
    symbol = [] if plain == name else [" ", tag("span", name, class_="symbol")]
    return joined([f"{plain[0].upper()}{plain[1:]}", *symbol, f" {what}" if what else ""])


def mapping_text(runs: Iterable[Run]) -> str:
    """Return mapping=NAME, with every name if runs differ."""
    return f"mapping={', '.join(sorted({run.mapping for run in runs}))}"


def rate_cell(rate: Interval | None) -> Markup:
    """A rate in percent with its interval; a dash without one."""
    if rate is None or not rate.n:
        return number_cell("–", None)
    parts: list[str] = [f"{100 * rate.value:.1f}"]
    if not math.isnan(rate.low):
        interval = f"({100 * rate.low:.0f} to {100 * rate.high:.0f})"
        parts += [" ", tag("span", interval, class_="quiet")]
    return tag("td", *parts, data_value=f"{rate.value:.6f}", class_="number")


def number_cell(text: str, value: float | None) -> Markup:
    """A number as it is shown, and its value to sort by."""
    known = value is not None and not math.isnan(value)
    return tag("td", text, data_value=f"{value:.6f}" if known else None, class_="number")


def table(
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
    content = tag("table", tag("caption", tag("span", caption)), tag("thead", tag("tr", *cells)),
                  tag("tbody", *rows), class_=style)  # fmt: skip
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)
