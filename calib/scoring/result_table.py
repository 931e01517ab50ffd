"""The results of a run as a table: filtered by column, shown in a notebook, or given to pandas."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any, SupportsIndex, overload

from markupsafe import escape

from calib.scoring.results import Result
from calib.util.errors import CalibError, did_you_mean

SHOWN = 20
"""Rows that a notebook shows."""
_SHOWN_COLUMNS = ("method", "layer", "strength", "split", "dataset", "variant", "category",
                  "metric", "value", "low", "high", "n", "clusters")  # fmt: skip


class ResultTable(list[Result]):
    """The rows of results.csv. It is a list of Result, and pandas.DataFrame(table) works."""

    columns = tuple(field.name for field in fields(Result))
    """Names of the columns."""

    def where(self, **values: Any) -> "ResultTable":
        """The rows with these values, e.g. where(metric="SRA", split="test").

        A list is several values, any of which will do. Raises CalibError for an unknown column.
        """
        for name in values:
            self._require(name)
        allowed = {
            name: value if isinstance(value, list | tuple | set) else [value]
            for name, value in values.items()
        }
        return ResultTable(
            row for row in self if all(getattr(row, name) in of for name, of in allowed.items())
        )

    def to_pandas(self) -> Any:
        """The table as a pandas.DataFrame. Raises CalibError (needs-package) without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise CalibError(
                "needs-package", "A data frame needs pandas: pip install 'calib[notebook]'."
            ) from error
        return pandas.DataFrame([asdict(row) for row in self], columns=list(self.columns))

    @overload
    def __getitem__(self, key: SupportsIndex) -> Result: ...
    @overload
    def __getitem__(self, key: slice) -> "ResultTable": ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """A row by its number, rows by a slice, or a column by its name."""
        if isinstance(key, str):
            self._require(key)
            return [getattr(row, key) for row in self]
        chosen = super().__getitem__(key)
        return ResultTable(chosen) if isinstance(chosen, list) else chosen

    def __repr__(self) -> str:
        return f"<{len(self):,} results: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        # Names of data sets and categories are content of others' files.
        lines = [_html_row("th", _SHOWN_COLUMNS)]
        lines += [
            _html_row("td", [_cell(getattr(row, name)) for name in _SHOWN_COLUMNS])
            for row in self[:SHOWN]
        ]
        more = f"<p>{len(self) - SHOWN:,} more rows</p>" if len(self) > SHOWN else ""
        return f"<table>{''.join(lines)}</table>{more}"

    def _require(self, name: str) -> None:
        if name not in self.columns:
            raise CalibError(
                "unknown-name",
                f"The results have no column '{name}'.{did_you_mean(name, self.columns)} They have "
                f"{', '.join(self.columns)}.",
            )


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
