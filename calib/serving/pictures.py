"""Inline pictures of a request: their limits, checked before anything is decoded, and decoding."""

import base64
import binascii
import hashlib
import io
import re
from dataclasses import dataclass, field

from PIL import Image

from calib.data.images import FORMATS, read_image
from calib.models.processor import scaled_down
from calib.serving.api_errors import APIError
from calib.util.errors import CalibError

BYTES_PER_PIXEL = 4
"""Memory of a decoded pixel; Pillow pads RGB to four bytes."""
MAX_PROPORTION = 50
"""Largest ratio of an image's sides. Processors that scale the shorter side to a fixed length would
make a line of pixels into a picture of gigabytes."""
_HEADER = re.compile(r"data:([a-z0-9.+/-]*)((?:;[a-z0-9_.=+-]+)*);base64,", re.IGNORECASE)
_MAX_HEADER = 200
_BOMB = 2**31
"""Sides of a picture that Pillow does not open for its size, which it does not say."""


class InlineImage:
    """An image from a request. It is decoded once, outside the worker, and kept until its request
    has been answered."""

    def __init__(self, data: bytes, param: str) -> None:
        """``param`` is the image's place in the request, for error messages."""
        self.data: bytes | None = data
        self.param = param
        self.digest = hashlib.sha256(data).digest()
        self.width, self.height = _size(data)
        """Declared by the file; 0 if it cannot be read, which ``decode`` reports."""
        self._decoded: Image.Image | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def __call__(self) -> Image.Image:
        if self._decoded is None:
            self.decode(None)
        assert self._decoded is not None
        return self._decoded

    def decode(self, max_pixels: int | None) -> None:
        """Decode the image, scaled down to ``max_pixels`` unless that is None.

        Raises APIError for images that read_image refuses.
        """
        assert self.data is not None, "the image of an answered request was opened"
        try:
            image = read_image(io.BytesIO(self.data), "of the request")
            self._decoded = image if max_pixels is None else scaled_down(lambda: image, max_pixels)
        except CalibError as error:
            reason = f"{error} Formats: {', '.join(FORMATS)}."
            raise APIError(reason, self.param, "invalid_image") from error
        except MemoryError as error:
            reason = f"{self.param} does not fit into memory."
            raise APIError(reason, self.param, "invalid_image") from error
        self.data = None
        self.width, self.height = self._decoded.size

    def release(self) -> None:
        """Free the memory, even if the example is still referenced."""
        self.data = self._decoded = None


@dataclass(frozen=True)
class PictureLimits:
    """Largest number of pictures in a request, and of their pixels in total."""

    pictures: int = 16
    pixels: int = 16_000_000


DEFAULT_LIMITS = PictureLimits()


@dataclass
class PictureReader:
    """Reads the pictures of one request up to its limits."""

    limits: PictureLimits
    images: list[InlineImage] = field(default_factory=list)

    def read(self, url: object, param: str) -> InlineImage:
        """The image in a data URL, not decoded yet.

        Raises APIError for other URLs (nothing is downloaded), invalid base64, and pictures beyond
        the limits.
        """
        if len(self.images) >= self.limits.pictures:
            raise APIError(
                f"The request has more than {self.limits.pictures} pictures. Send fewer, or start "
                "the server with a larger value of pictures.",
                param,
                "too_many_images",
            )
        image = InlineImage(_decode_url(url, param), param)
        if max(image.width, image.height) > MAX_PROPORTION * min(image.width, image.height):
            raise APIError(
                f"{param} has {image.width} x {image.height} pixels; no side may be more than "
                f"{MAX_PROPORTION} times the other.",
                param,
                "invalid_image",
            )
        pixels = image.pixels + sum(other.pixels for other in self.images)
        if pixels > self.limits.pixels:
            most = Image.MAX_IMAGE_PIXELS or 0
            count = f"more than {most:,}" if pixels >= _BOMB**2 else f"{pixels:,}"
            raise APIError(
                f"The pictures of the request have {count} pixels up to {param}; the maximum is "
                f"{self.limits.pixels:,}. Scale them down, or start the server with a larger value "
                "of megapixels.",
                param,
                "image_too_large",
            )
        self.images.append(image)
        return image


def _size(data: bytes) -> tuple[int, int]:
    """Width and height that an image file declares."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _BOMB, _BOMB
    except Exception:  # Pillow raises many exception types on damaged files.
        return 0, 0


def _decode_url(url: object, param: str) -> bytes:
    if not isinstance(url, str):
        raise APIError(f"{param} must be a string with a data URL.", param, "invalid_type")
    header = _HEADER.match(url[:_MAX_HEADER])
    if header is None:
        raise APIError(
            f"{param} must be a base64 data URL (data:image/png;base64,...). This server downloads "
            "nothing: put the image itself into the request.",
            param,
            "invalid_image_url",
        )
    try:
        return base64.b64decode(url[header.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise APIError(f"{param} is invalid base64 ({error}).", param, "invalid_base64") from error
