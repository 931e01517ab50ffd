"""What is on the Hugging Face hub: tables, through the package datasets (extra calib[data]), and
plain files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calib.data.images import PictureBytes
from calib.util.errors import CalibError

REMEDY = "Give a local copy with {key}.root=FOLDER, or another id with {key}.hub=ID."


def read_hub(
    hub: str, subset: str | None, split: str, revision: str | None, key: str = "data"
) -> list[dict[str, Any]]:
    """The rows of one split; cells with a picture hold a PictureBytes.

    Only data files are read: datasets 4 and newer run no code of a dataset's own.
    Raises CalibError where the extra is missing or the dataset cannot be had.
    """
    datasets = _datasets(
        f"{key}.hub={hub} is read through the package datasets", f"{key}.root=FOLDER"
    )
    try:
        table = datasets.load_dataset(hub, subset, split=split, revision=revision)
    except Exception as error:  # datasets raises nearly anything for what it cannot get
        where = f"{hub}{f' ({subset})' if subset else ''}, split {split}"
        raise CalibError(
            f"{where} cannot be read from the hub: {_reason(error)}. {REMEDY.format(key=key)}"
        ) from error
    return _rows(table, f"{hub}{f' ({subset})' if subset else ''}, {split}", hub)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file with pictures, which stay on the disk until they are asked for.

    Raises CalibError where the extra is missing or the file cannot be read.
    """
    datasets = _datasets(f"{path} is read through the package datasets", "the original files")
    if not path.is_file():
        raise CalibError(f"{path} is missing. Put the file there or correct the folder.")
    try:
        table = datasets.Dataset.from_parquet(str(path))
    except Exception as error:  # as above
        raise CalibError(
            f"{path} cannot be read as parquet ({_reason(error)}). Fetch it again."
        ) from error
    return _rows(table, str(path), str(path.parent))


def download(hub: str, patterns: Sequence[str], revision: str | None, key: str = "data") -> Path:
    """The folder with those plain files of a dataset on the hub that match ``patterns``.

    Its files may be links into the hub's cache. Raises CalibError where they cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
    except Exception as error:  # a refusal, a wrong id, no network: all of different kinds
        raise CalibError(
            f"{hub} cannot be fetched from the hub: {_reason(error)}. {REMEDY.format(key=key)}"
        ) from error
    return Path(folder)


def _datasets(what: str, instead: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise CalibError(f"{what}: pip install 'calib[data]'. Or give {instead}.") from None
    datasets.disable_progress_bars()
    return datasets


def _rows(table: Any, where: str, origin: str) -> list[dict[str, Any]]:
    import datasets

    pictures = [n for n, f in table.features.items() if isinstance(f, datasets.Image) or _packed(f)]
    for name in pictures:
        table = table.cast_column(name, datasets.Image(decode=False))
    rows = []
    for number, row in enumerate(table.remove_columns(pictures)):
        for name in pictures:
            cell = f"{where} row {number}, column '{name}'"
            row[name] = PictureBytes(cell, _Cell(table, number, name, origin))
        rows.append(row)
    return rows


def _packed(feature: Any) -> bool:
    """Whether a column is a picture that nobody declared as one."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


class _Cell:
    """The bytes of a picture in a table on the disk; None where the cell is empty."""

    def __init__(self, table: Any, number: int, name: str, origin: str) -> None:
        self.table, self.number, self.name, self.origin = table, number, name, origin

    def __call__(self) -> bytes | None:
        cell = self.table[self.number][self.name]
        if not cell or not (cell["bytes"] or cell["path"]):
            return None
        return cell["bytes"] or self._file(cell["path"])

    def _file(self, name: str) -> bytes:
        """A picture that lies beside the table: in its folder, or among what was downloaded."""
        import datasets
        from huggingface_hub import constants

        path = os.path.realpath(name)
        roots = [datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE, self.origin]
        tops = [os.path.realpath(root) for root in roots]
        if not any(path.startswith(top + os.sep) for top in tops):
            raise CalibError(
                f"A table of {self.origin} names the picture {name}, which lies neither beside "
                "it nor in the hub's cache. It is not read."
            )
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise CalibError(f"Picture {name} cannot be read ({error.strerror}).") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300].rstrip(". ") or type(error).__name__
