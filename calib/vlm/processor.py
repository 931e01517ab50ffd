"""Processors for images and text, with torchvision or without it."""

import functools
from typing import Any


@functools.lru_cache(None)
def image_only(cls: type) -> Any:
    """``cls`` (a transformers processor class) without its video half.

    Video processors exist only with torchvision; a processor class that names one cannot be built
    or loaded without it, although text and images need nothing of it.
    """

    class ImageOnly(cls):
        @classmethod
        def get_attributes(klass) -> list[str]:
            return [name for name in super().get_attributes() if "video" not in name]

    ImageOnly.__name__ = ImageOnly.__qualname__ = cls.__name__
    return ImageOnly
