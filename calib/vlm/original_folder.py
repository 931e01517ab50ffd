"""Where a checkpoint to convert lies: a folder, or a repository of the hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from calib.errors import CalibError
from calib.vlm.shards import PICKLED, SAFE

DESCRIPTION = ("config.json", "*.index.json")


def fetched(source: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of ``source``, downloaded if it is a hub id, and the commit it is there at.

    Pickled weights are downloaded only where there are no others. Raises CalibError when it is
    neither a folder nor a repository that can be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise CalibError(f"revision is one of the hub, and source={source} is a folder.")
        return folder, None
    try:
        for weights in (SAFE, PICKLED):
            patterns = [*DESCRIPTION, weights]
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
            if any(folder.glob(weights)):
                break
    except (OSError, ValueError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CalibError(
            f"source={source} could not be read: {first} Give a folder, or USER/NAME on the "
            "Hugging Face hub."
        ) from error
    return folder, folder.name
