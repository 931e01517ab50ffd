"""Metrics: each is declared once, in a file of this folder, and feeds results, tables and docs.

A file declares its metrics in the order of computation:

    METRICS = (Metric("NAME", "definition", "source", ("queries",), compute, ...),)

calib.scoring.score computes every metric for every slice of a run. Tables and figures show the
metrics that name them in ``shown_in``; docs/metrics.md has the definitions.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from calib.scoring.intervals import Interval
from calib.scoring.judged import Judged
from calib.util.errors import CalibError, did_you_mean

KINDS = ("queries", "dual_use", "utility", "knowledge")
"""Kinds of examples that have metrics of their own; "queries" are image- and text-centric."""
DISPLAYS: Mapping[str, str] = MappingProxyType(
    {
        "breakdown": "terminal: rates by part, variant and category",
        "dual_use": "terminal, report and figure `perturbations`: dual-use rates and their changes",
        "report_parts": "report: rates by part, variant and category",
        "trade_off": "figure `trade_off`: rates against strength",
        "categories": "figure `categories`: rates by hazard category",
        "card": "card of an exported direction",
    }
)
"""Tables and figures that can show a metric, by name."""


@dataclass(frozen=True)
class Slice:
    """The judged responses that one value of a metric is computed from."""

    rows: Sequence[Judged]
    """Responses of one setting and split: a total, a variant or a category."""
    mapping: str
    """Label mapping, see calib.scoring.judged.MAPPINGS."""
    metrics: Mapping[str, Interval]
    """Metrics of the same slice that are declared earlier."""


@dataclass(frozen=True)
class Metric:
    """A number of results.csv."""

    name: str
    """Its name in column metric."""
    definition: str
    """One sentence in Markdown, for docs/metrics.md."""
    source: str
    """Paper and section of the formula; "calib" for our own."""
    measured_on: tuple[str, ...]
    """The kinds of examples it is computed for, of KINDS."""
    compute: Callable[[Slice], Interval] = field(repr=False)
    """Its value, interval and n; a value of nan is left out of results.csv."""
    label: str = ""
    """Short description in legends."""
    shown_in: Mapping[str, int] = field(default_factory=dict)
    """Where it is shown, of DISPLAYS, with its position in that table or figure."""
    per_mapping: bool = False
    """Whether it depends on the label mapping; results.csv then also has paper_NAME."""
    total_only: bool = False
    """Whether it is computed for totals only, not by variant or category."""

    def __post_init__(self) -> None:
        for given, known in ((self.measured_on, KINDS), (self.shown_in, DISPLAYS)):
            for name in given:
                if name not in known:
                    raise CalibError(
                        "unknown-name",
                        f"Metric {self.name}: '{name}' is not one of {', '.join(known)}."
                        + did_you_mean(name, known),
                    )


@functools.cache
def metrics_by_file() -> Mapping[str, tuple[Metric, ...]]:
    """Return the metrics of each file of this folder, files by name, metrics as declared.

    Raises CalibError if two metrics have the same name.
    """
    files = sorted(module.name for module in pkgutil.iter_modules(__path__))
    declared = {name: importlib.import_module(f"{__name__}.{name}").METRICS for name in files}
    names: set[str] = set()
    for name, metrics in declared.items():
        for metric in metrics:
            if metric.name in names:
                raise CalibError(
                    "duplicate",
                    f"calib/scoring/metrics/{name}.py: metric '{metric.name}' is declared twice.",
                )
            names.add(metric.name)
    return MappingProxyType(declared)


def metrics_of(kind: str) -> list[Metric]:
    """Return the metrics of ``kind`` in the order of computation."""
    return [m for metrics in metrics_by_file().values() for m in metrics if kind in m.measured_on]


def shown_metrics(display: str, kind: str | None = None) -> list[Metric]:
    """Return the metrics that the table or figure ``display`` shows, in its order.

    With ``kind`` only the metrics of that kind of examples.
    """
    shown = [m for metrics in metrics_by_file().values() for m in metrics if display in m.shown_in]
    of_kind = [m for m in shown if kind is None or kind in m.measured_on]
    return sorted(of_kind, key=lambda metric: metric.shown_in[display])


def shown_names(display: str, kind: str | None = None) -> tuple[str, ...]:
    """Return the names of shown_metrics."""
    return tuple(metric.name for metric in shown_metrics(display, kind))


def measure(
    kind: str, rows: Sequence[Judged], mapping: str = "calib", total: bool = True
) -> dict[str, Interval]:
    """Compute every metric of ``kind`` on one slice, by name.

    Metrics that depend on the label mapping are added as paper_NAME too, unless ``mapping`` is
    "paper". ``total`` is False for a variant or category. Values without a response are nan.
    """
    metrics = [metric for metric in metrics_of(kind) if total or not metric.total_only]
    values = _computed(metrics, rows, mapping)
    if mapping != "paper":
        mapped = [metric for metric in metrics if metric.per_mapping]
        values |= {f"paper_{name}": v for name, v in _computed(mapped, rows, "paper").items()}
    return values


def mapping_of(name: str, mapping: str) -> str:
    """Return the label mapping that the metric ``name`` of a run with ``mapping`` was computed
    under; "" if it depends on none."""
    if name.startswith("paper_"):
        return "paper"
    return mapping if name in _mapped_names() else ""


@functools.cache
def _mapped_names() -> frozenset[str]:
    declared = (metric for metrics in metrics_by_file().values() for metric in metrics)
    return frozenset(metric.name for metric in declared if metric.per_mapping)


def _computed(
    metrics: Sequence[Metric], rows: Sequence[Judged], mapping: str
) -> dict[str, Interval]:
    values: dict[str, Interval] = {}
    for metric in metrics:
        values[metric.name] = metric.compute(Slice(rows, mapping, values))
    return values
