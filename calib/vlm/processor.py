"""Processors for images and text, with torchvision or without it."""

import functools
import importlib
import inspect
import sys
import types
from typing import Any

import transformers
from transformers.utils import is_torchvision_available


@functools.lru_cache(None)
def image_only(cls: Any) -> Any:
    """``cls`` (a transformers processor class) without its video half.

    Video processors exist only with torchvision; a processor class that names one cannot be built
    or loaded without it, although text and images need nothing of it.
    """
    module = sys.modules[cls.__module__]
    if getattr(module, "num2words", True) is None:
        module.num2words = str  # type: ignore[attr-defined]  # SmolVLM's, for time stamps of videos

    class ImageOnly(cls):
        # Read by SmolVLM when it is made.
        video_processor = types.SimpleNamespace(num_frames=None, fps=None)

        @classmethod
        def get_attributes(klass) -> list[str]:
            return [name for name in super().get_attributes() if "video" not in name]

        @classmethod
        def from_args_and_dict(
            klass, args: Any, processor_dict: dict[str, Any], **kwargs: Any
        ) -> Any:
            names = list(inspect.signature(cls.__init__).parameters)[1:]
            if names[len(args) : len(args) + 1] == ["video_processor"]:
                args = [*args, None]
            return super().from_args_and_dict(args, processor_dict, **kwargs)

    ImageOnly.__name__ = ImageOnly.__qualname__ = cls.__name__
    return ImageOnly


def processor_class(name: str) -> Any:
    """The transformers processor class of that name, or None where there is none."""
    if name == "PixtralProcessor" and not is_torchvision_available():
        # It takes one function from a module that needs torchvision; the same function is in the
        # module that does not.
        pixtral = "transformers.models.pixtral"
        images = importlib.import_module(f"{pixtral}.image_processing_pil_pixtral")
        sys.modules.setdefault(f"{pixtral}.image_processing_pixtral", images)
        return importlib.import_module(f"{pixtral}.processing_pixtral").PixtralProcessor
    return getattr(transformers, name, None)
