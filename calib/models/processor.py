"""Processors for images and text, with torchvision or without it."""

import datetime
import functools
import importlib
import inspect
import re
import sys
import types
from typing import Any

import transformers
from transformers import AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from calib.util.errors import CalibError

TODAY = datetime.date(2025, 1, 1)
"""The date that chat templates are told: some write the day's, and a run must say the same to its
model on the day it goes on as on the day it began."""


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


def open_processor(
    source: str, model_type: str, chat_template: str | None, common: dict[str, Any]
) -> Any:
    """The processor of a checkpoint, for images and text, with ``chat_template`` in place of its
    own if there is one; ``common`` is passed on to from_pretrained.

    Raises CalibError when there is no chat template.
    """
    # Pillow's image processors on every machine: torchvision's differ by a grey level, and are not
    # everywhere. Families unknown to the mapping load as they come.
    named = PROCESSOR_MAPPING_NAMES.get(model_type)
    cls = processor_class(named) if isinstance(named, str) else None
    if cls is None:
        processor = AutoProcessor.from_pretrained(source, **common)
    else:
        processor = image_only(cls).from_pretrained(source, **common, backend="pil")
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise CalibError(
            f"the processor of {source} does not read both pictures and text. Give a folder or hub "
            "id of a vision-language model with all its files."
        )
    template = chat_template or processor.chat_template or processor.tokenizer.chat_template
    if template is None:
        raise CalibError(
            f"the processor of {source} has no chat template: it is a base model, or one prompted "
            "with plain text. Take an instruction-tuned checkpoint, or give model.chat_template."
        )
    processor.chat_template = dated(template) if isinstance(template, str) else template
    return processor


def dated(template: str) -> str:
    """A chat template with TODAY in place of the day it is used on."""

    def day(call: re.Match[str]) -> str:
        return repr(TODAY.strftime(call[2]))

    return re.sub(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""", day, template)
