"""Pictures inside requests: data URLs, checked when they arrive and decoded when they are shown."""

import base64
import binascii
import io
import re

from PIL import Image

from calib.data.images import FORMATS, read_image
from calib.errors import CalibError
from calib.serving.refusal import Refused

_HEAD = re.compile(r"data:([a-z0-9.+/-]*)((?:;[a-z0-9_.=+-]+)*);base64,", re.IGNORECASE)
_LONGEST_HEAD = 200


class InlinePicture:
    """A picture that a request brought, kept as it came: small, and decoded when asked for."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data

    def __call__(self) -> Image.Image:
        assert self.data is not None, "nobody looks at a request that was answered"
        return read_image(io.BytesIO(self.data), "of the request")

    def let_go(self) -> None:
        """Free its memory, whoever still holds the example it belongs to."""
        self.data = None


def picture_of(url: object, param: str) -> InlinePicture:
    """The picture in a data URL.

    Raises Refused for an address (nothing is fetched), bad base64, and what read_image refuses.
    """
    if not isinstance(url, str):
        raise Refused(f"{param} is not a text with a data URL.", param, "invalid_type")
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise Refused(
            f"{param} is no data URL with base64: this server fetches nothing. Put the picture "
            "itself into the request, as data:image/png;base64,...",
            param,
            "invalid_image_url",
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{param} is no base64 ({error}).", param, "invalid_base64") from error
    picture = InlinePicture(data)
    try:
        picture()
    except CalibError as error:
        kinds = ", ".join(FORMATS)
        raise Refused(f"{error} Formats: {kinds}.", param, "invalid_image") from error
    except MemoryError as error:
        raise Refused(f"{param} does not fit into memory.", param, "invalid_image") from error
    return picture
