"""Find pictures with the same content, whatever their names are."""

import hashlib
from collections.abc import Iterable
from typing import TypeVar

from calib.data.images import PictureBytes, PictureFile
from calib.util.errors import CalibError
from calib.util.reading import file_bytes

StoredPicture = PictureFile | PictureBytes
Stored = TypeVar("Stored", bound=StoredPicture)


def first_copies(pictures: Iterable[Stored]) -> dict[Stored, Stored]:
    """Each picture's first copy: the first of the pictures whose files are byte for byte the same.

    Only files of the same size are read. A file that is missing or cannot be read is like no other:
    calib.data.images.check_pictures reports it.
    """
    by_size: dict[int, list[Stored]] = {}
    firsts = {picture: picture for picture in pictures}
    for picture in firsts:
        if (size := _size(picture)) is not None:
            by_size.setdefault(size, []).append(picture)
    for group in by_size.values():
        if len(group) > 1:
            by_digest: dict[str, Stored] = {}
            for picture in group:
                data = _read(picture)
                if data:
                    digest = hashlib.sha256(data).hexdigest()
                    firsts[picture] = by_digest.setdefault(digest, picture)
    return firsts


def _size(picture: StoredPicture) -> int | None:
    if isinstance(picture, PictureFile):
        try:
            return picture.path.stat().st_size
        except OSError:
            return None
    if picture.size is not None:
        return picture.size
    data = _read(picture)
    return None if data is None else len(data)


def _read(picture: StoredPicture) -> bytes | None:
    try:
        if isinstance(picture, PictureFile):
            return file_bytes(picture.path)
        return picture.fetch()
    except (OSError, ValueError, CalibError):
        return None
