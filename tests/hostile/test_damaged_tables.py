"""Every damaged table ends in a right value, a note, or a CalibError that names the cause."""

from pathlib import Path

import numpy as np
import pytest
from damaged_tables import Damaged, Refused, damaged_tables
from raising import raises

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from calib.data.tables import read_table

TABLES = damaged_tables()


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_a_table_gives_what_it_states_or_is_refused(table: Damaged, tmp_path: Path) -> None:
    path = tmp_path / table.file
    path.write_bytes(table.content)
    config = PairsData(file=str(path))
    if isinstance(table.outcome, Refused):
        with raises(table.outcome.code, table.outcome.value):
            load_benchmark(config)
        return
    loaded = load_benchmark(config)
    found = sorted((example.query, example.safety) for example in loaded.examples)
    assert found == sorted(table.outcome.queries)
    assert table.outcome.note in " ".join(loaded.notes)


def test_the_names_are_distinct_and_there_are_many() -> None:
    assert len({table.name for table in TABLES}) == len(TABLES) >= 60


def test_a_small_parquet_file_of_many_rows_is_refused_before_it_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "bomb.parquet"
    column = pyarrow.DictionaryArray.from_arrays(np.zeros(21_000_000, dtype=np.int8), ["a"])
    parquet.write_table(pyarrow.table({"query": column}), path, compression="zstd")
    assert path.stat().st_size < 500_000
    with raises("too-large", path, "21,000,000"):
        read_table(path)
