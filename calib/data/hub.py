"""Hugging Face hub: read tables with the package datasets (extra calib[data]), download files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calib.config.checks import not_blank
from calib.data.images import PictureBytes, path_inside
from calib.data.tables import TableRow
from calib.util.content import in_place_of
from calib.util.errors import CalibError
from calib.util.reading import file_bytes

REMEDY = "Use a local copy with {key}.root=FOLDER, or another dataset with {key}.hub=ID."


def read_hub(
    hub: str, subset: str | None, split: str, revision: str | None, key: str = "data"
) -> list[TableRow]:
    """The rows of a split; cells that contain an image become PictureBytes.

    ``key`` is the config group, for error messages. Only data files are read: datasets 4 and newer
    do not execute loading scripts. Raises CalibError if the extra is not installed or the dataset
    is not available.
    """
    not_blank(f"{key}.hub", hub)
    not_blank(f"{key}.revision", revision)
    datasets = _import_datasets(f"{key}.hub={hub}", f"use a local copy: {key}.root=FOLDER")
    name = hub_name(hub, subset)
    try:
        table = datasets.load_dataset(hub, subset, split=split, revision=revision)
    except Exception as error:  # datasets raises many exception types
        raise CalibError(
            "endpoint",
            f"{name}, split {split} cannot be read from the hub: {_reason(error)}. "
            f"{REMEDY.format(key=key)}",
        ) from error
    return _rows(table, f"{name}, {split}", hub)


def hub_name(hub: str, subset: str | None) -> str:
    """Dataset id and subset, for messages."""
    return f"{hub} ({subset})" if subset else hub


def read_parquet(path: Path) -> list[TableRow]:
    """The rows of a parquet file; its images stay on disk until they are opened.

    Raises CalibError if the extra is not installed or the file cannot be read.
    """
    datasets = _import_datasets(str(path), "use the original files")
    if not path.is_file():
        raise CalibError("not-found", f"{path} does not exist. Put it there or correct the folder.")
    try:
        table = datasets.Dataset.from_parquet(str(path))
    except Exception as error:  # as above
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as parquet ({in_place_of(path, b'PAR1', _reason(error))}). "
            "Download it again.",
        ) from error
    return _rows(table, str(path), str(path.parent))


def download(hub: str, patterns: Sequence[str], revision: str | None, key: str = "data") -> Path:
    """Download the files of a dataset that match ``patterns`` and return their folder.

    The files may be links into the hub's cache. Raises CalibError if they are not available.
    """
    from huggingface_hub import snapshot_download

    not_blank(f"{key}.hub", hub)
    not_blank(f"{key}.revision", revision)

    try:
        folder = snapshot_download(
            hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
    except Exception as error:  # access denied, wrong id, no network: all different types
        raise CalibError(
            "endpoint",
            f"{hub} cannot be downloaded from the hub: {_reason(error)}. {REMEDY.format(key=key)}",
        ) from error
    return Path(folder)


def _import_datasets(source: str, alternative: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise CalibError(
            "needs-package",
            f"{source} requires the package datasets: pip install 'calib[data]', or {alternative}.",
        ) from None
    datasets.disable_progress_bars()
    return datasets


def _rows(table: Any, where: str, origin: str) -> list[TableRow]:
    import datasets

    columns = [
        name
        for name, feature in table.features.items()
        if isinstance(feature, datasets.Image) or _is_undeclared_image(feature)
    ]
    for column in columns:
        table = table.cast_column(column, datasets.Image(decode=False))
    rows = []
    for number, row in enumerate(table.remove_columns(columns)):
        for column in columns:
            name = f"{where} row {number + 1}, column '{column}'"
            row[column] = PictureBytes(name, _ImageCell(table, number, column, origin))
        rows.append(row)
    return rows


def _is_undeclared_image(feature: Any) -> bool:
    """Whether a column holds images without being declared as an image column."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


class _ImageCell:
    """Fetches the bytes of an image from a table on disk; None for an empty cell."""

    def __init__(self, table: Any, number: int, column: str, origin: str) -> None:
        self.table, self.number, self.column, self.origin = table, number, column, origin

    def __call__(self) -> bytes | None:
        cell = self.table[self.number][self.column]
        if not cell or not (cell["bytes"] or cell["path"]):
            return None
        return cell["bytes"] or self._file(cell["path"])

    def _file(self, name: str) -> bytes:
        """Read an image file in the folder of the table or in the hub's cache."""
        import datasets
        from huggingface_hub import constants

        roots = [self.origin, datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE]
        paths = [path for root in roots if (path := _inside(Path(root), name))]
        if not paths:
            raise CalibError(
                "invalid-value",
                f"A table of {self.origin} names the picture {name}, which is neither in the "
                "folder of the table nor in the hub's cache. Move it to the table's folder.",
            )
        try:
            return file_bytes(next((path for path in paths if path.is_file()), paths[0]))
        except (OSError, ValueError) as error:
            raise CalibError("unreadable", f"Picture {name} cannot be read ({error}).") from error


def _inside(root: Path, name: str) -> Path | None:
    try:
        return root / path_inside(root, name)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300].rstrip(". ") or type(error).__name__
