"""Fixtures that write copies of published benchmarks, with their columns and our own content."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_copies import write
from raising import raises
from utility_tables import png

from calib.config.data import PublishedData
from calib.config.schemas import CONF
from calib.data import published
from calib.data.example import Benchmark

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Redirect the caches of datasets and the hub's client to a folder of the test."""
    import datasets
    from huggingface_hub import constants

    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    return folder


@pytest.fixture
def load() -> Callable[..., Benchmark]:
    """Load a benchmark by name, with the values of its YAML and the given changes."""

    def load_(name: str, **changes: Any) -> Benchmark:
        values = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
        del values["defaults"]
        changes = {k: str(v) if isinstance(v, Path) else v for k, v in changes.items()}
        return published.load(PublishedData(**{**values, **changes}))

    return load_


@pytest.fixture
def refused(load: Callable[..., Benchmark]) -> Callable[..., None]:
    """Expect that loading fails with an error code and a message that contains the values."""

    def refused_(name: str, code: str, *values: object, **changes: Any) -> None:
        with raises(code, *values):
            load(name, **changes)

    return refused_


@pytest.fixture(name="write")
def write_() -> Callable[[Path, Any], Path]:
    return write


@pytest.fixture
def hub(tmp_path: Path) -> Callable[..., str]:
    """A folder in the hub's layout, read by datasets like an id: {subset: {split: rows}}.

    Cells of type bytes become pictures.
    """

    def hub_(subsets: Mapping[str, Mapping[str, Rows]], name: str = "onhub") -> str:
        import datasets

        folder = tmp_path / name
        folder.mkdir()
        configs = []
        for subset, splits in subsets.items():
            files = []
            for split, rows in splits.items():
                columns = {key: [row[key] for row in rows] for key in rows[0]}
                table = datasets.Dataset.from_dict(columns)
                for key, cells in columns.items():
                    if any(isinstance(cell, bytes) for cell in cells):
                        packed = [{"bytes": cell, "path": None} for cell in cells]
                        table = table.remove_columns(key).add_column(key, packed)
                        table = table.cast_column(key, datasets.Image())
                path = Path("data") / subset / f"{split}.parquet"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                table.to_parquet(folder / path)
                files.append({"split": split, "path": str(path)})
            configs.append({"config_name": subset, "data_files": files})
        (folder / "README.md").write_text(
            f"---\n{yaml.safe_dump({'configs': configs})}---\n", encoding="utf-8"
        )
        return str(folder)

    return hub_


@pytest.fixture
def colour() -> Callable[[Any], tuple[int, int, int]]:
    """The colour of the first pixel of an example's picture."""
    return lambda example: example.picture().getpixel((0, 0))


@pytest.fixture(name="png")
def png_() -> Callable[[str], bytes]:
    return png
