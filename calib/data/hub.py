"""Tables of the Hugging Face hub, through the package datasets (extra calib[data])."""

from pathlib import Path
from typing import Any

from calib.data.picture_files import PictureBytes
from calib.errors import CalibError

REMEDY = "Give a local copy with {key}.root=FOLDER, or another id with {key}.hub=ID."


def read_hub(
    hub: str, subset: str | None, split: str, revision: str | None, key: str = "data"
) -> list[dict[str, Any]]:
    """The rows of one split; cells with a picture hold a PictureBytes.

    Only data files are read: datasets 4 and newer run no code of a dataset's own.
    Raises CalibError where the extra is missing or the dataset cannot be had.
    """
    try:
        import datasets
    except ImportError:
        raise CalibError(
            f"{key}.hub={hub} is read through the package datasets: pip install 'calib[data]'. "
            f"Or give a local copy: {key}.root=FOLDER."
        ) from None
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(hub, subset, split=split, revision=revision)
    except Exception as error:  # datasets raises nearly anything for what it cannot get
        where = f"{hub}{f' ({subset})' if subset else ''}, split {split}"
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CalibError(
            f"{where} cannot be read from the hub: {reason}. {REMEDY.format(key=key)}"
        ) from error
    pictures = [n for n, f in table.features.items() if isinstance(f, datasets.Image)]
    for name in pictures:
        table = table.cast_column(name, datasets.Image(decode=False))
    plain = table.remove_columns(pictures)
    rows = []
    for number, row in enumerate(plain):
        for name in pictures:
            where = f"{hub}, {split} row {number}, column '{name}'"
            row[name] = PictureBytes(where, _Cell(table, number, name))
        rows.append(row)
    return rows


class _Cell:
    """The bytes of a picture in a table on the disk."""

    def __init__(self, table: Any, number: int, name: str) -> None:
        self.table, self.number, self.name = table, number, name

    def __call__(self) -> bytes | None:
        cell = self.table[self.number][self.name]
        if not cell:
            return None
        return cell["bytes"] or Path(cell["path"]).read_bytes()
