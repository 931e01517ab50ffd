"""Read parquet files, whose size in memory is bounded as they are read."""

from pathlib import Path
from typing import Any

from calib.data.formats.strict_csv import MAX_BYTES, require_distinct
from calib.util.content import in_place_of
from calib.util.errors import CalibError

MAX_VALUES = 20_000_000
"""Most values of a parquet file: compressed, more than these fit in some kilobytes."""


def _require_small(path: Path, rows: int, values: int, size: int) -> None:
    """Raise CalibError (too-large) for a parquet file that would not fit in memory as rows."""
    if values > MAX_VALUES or size > 4 * MAX_BYTES:
        raise CalibError(
            "too-large",
            f"{path} has {rows:,} rows with {values:,} values or more, in {size:,} bytes; the "
            f"limits are {MAX_VALUES:,} values and {4 * MAX_BYTES:,} bytes. Split the file.",
        )


def _rows(path: Path, file: Any) -> list[dict[str, Any]]:
    """The rows of an open parquet file, whose values are counted as they are read.

    The numbers that the file declares for each column are not asked for: where they are damaged,
    pyarrow ends the process.
    """
    metadata = file.metadata
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    count = metadata.num_rows
    _require_small(path, count, count * len(file.schema_arrow.names), size)
    rows: list[dict[str, Any]] = []
    values = read = 0
    for batch in file.iter_batches(_BATCH):
        values += sum(map(_values, batch.columns))
        read += batch.nbytes
        _require_small(path, count, values, max(size, read))
        rows += batch.to_pylist()
    return rows


_BATCH = 4096
"""Rows of a parquet file that are read at a time."""


def _values(array: Any) -> int:
    """Number of values in an array of pyarrow, those in lists and structures included."""
    import pyarrow

    if isinstance(array, pyarrow.StructArray):
        return sum(map(_values, array.flatten()))
    is_list = isinstance(array, pyarrow.ListArray | pyarrow.LargeListArray)
    return len(array) + (_values(array.flatten()) if is_list else 0)


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file.

    Raises CalibError for a file that is damaged or too large, and without the package pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise CalibError(
            "needs-package",
            f"{path} is a parquet file. To read it, pip install 'calib[data]'.",
        ) from None
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            require_distinct(file.schema_arrow.names, "the column")
            return _rows(path, file)
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as parquet ({in_place_of(path, b'PAR1', error)}). Download it "
            "again.",
        ) from error
