"""Pictures in a zip archive, read where they lie: nothing is unpacked."""

import zipfile
import zlib
from functools import cache, partial
from pathlib import Path

from calib.data.images import MAX_BYTES
from calib.data.picture_files import PictureBytes
from calib.errors import CalibError


def members(path: Path) -> frozenset[str]:
    """The names in an archive. Raises CalibError where it cannot be read."""
    return frozenset(_archive(path).namelist())


def zipped_picture(path: Path, name: str) -> PictureBytes:
    """The picture called ``name`` in the archive ``path``."""
    return PictureBytes(f"{path}:{name}", partial(_read, path, name))


@cache  # The list of a large archive takes a moment to read, and is read once.
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise CalibError(
            f"{path} cannot be read as a zip archive ({error}). Fetch it again."
        ) from error


def _read(path: Path, name: str) -> bytes:
    archive = _archive(path)
    try:
        size = archive.getinfo(name).file_size
        if size > MAX_BYTES:
            raise CalibError(
                f"Picture {path}:{name} has {size:,} bytes; at most {MAX_BYTES:,} are read."
            )
        return archive.read(name)
    except KeyError:
        raise CalibError(
            f"Picture {path}:{name} does not exist. Fetch the archive again."
        ) from None
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CalibError(f"Picture {path}:{name} cannot be read ({error}).") from error
