"""Load processors for images and text, with or without torchvision."""

import datetime
import functools
import importlib
import inspect
import json
import math
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import transformers
from PIL import Image
from transformers import AutoProcessor
from transformers.image_utils import SizeDict
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available
from transformers.utils.chat_template_utils import _get_template_variables

from calib.config.choices import TEMPLATE_ARGUMENTS
from calib.models.template_bounds import require_no_power
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded
from calib.util.reading import file_text

OF_EVERY_TEMPLATE = ("raise_exception", "strftime_now", "bos_token", "eos_token", "pad_token",
                     "unk_token")  # fmt: skip
"""Variables of chat templates that are no settings."""
MAX_PIXELS, MAX_COUNT = 2**26, 2**13
"""Largest area to which a processor may scale a picture, in pixels; and largest side, number of
tiles and number of tokens of a picture. Processors have at most a quarter of these."""
MAX_TEMPLATE = 2**20
"""Largest file of a chat template, in bytes."""
FIXED_DATE = datetime.date(2025, 1, 1)
"""Date for chat templates that insert today's: a resumed run must build the same prompts."""


@functools.lru_cache(None)
def image_only(cls: Any) -> Any:
    """A subclass of the transformers processor class ``cls`` without video support.

    Video processors need torchvision. A class that declares one cannot be built or loaded without
    torchvision, although images and text do not need it.
    """
    module = sys.modules[cls.__module__]
    if getattr(module, "num2words", True) is None:
        module.num2words = str  # type: ignore[attr-defined]  # SmolVLM's video time stamps

    class ImageOnly(cls):
        # SmolVLM reads these attributes in its constructor.
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
    """The transformers processor class called ``name``, or None if there is none."""
    if name == "PixtralProcessor" and not is_torchvision_available():
        # It imports one function from a module that needs torchvision. The module for pillow has
        # the same function.
        pixtral = "transformers.models.pixtral"
        images = importlib.import_module(f"{pixtral}.image_processing_pil_pixtral")
        sys.modules.setdefault(f"{pixtral}.image_processing_pixtral", images)
        return importlib.import_module(f"{pixtral}.processing_pixtral").PixtralProcessor
    return getattr(transformers, name, None)


def load_processor(
    source: str, model_type: str, chat_template: str | None, common: dict[str, Any]
) -> Any:
    """Load a checkpoint's processor for images and text.

    ``chat_template`` (its text, or the path of a file) replaces the processor's own if given;
    ``common`` is passed to from_pretrained.

    Raises CalibError if the processor lacks image processing or a chat template, makes pictures of
    more than MAX_PIXELS, or if ``chat_template`` is neither text nor a file.
    """
    # Pillow's image processors everywhere: torchvision's differ by a grey level and may be missing.
    # Families that are not in the mapping load with their defaults.
    class_name = PROCESSOR_MAPPING_NAMES.get(model_type)
    cls = processor_class(class_name) if isinstance(class_name, str) else None
    if cls is None:
        processor = AutoProcessor.from_pretrained(source, **common)
    else:
        processor = image_only(cls).from_pretrained(source, **common, backend="pil")
    prepare_processor(processor, source, chat_template)
    return processor


def prepare_processor(processor: Any, source: str, chat_template: str | None) -> None:
    """Check a processor, and give it the chat template and the padding that calib uses.

    Raises CalibError as load_processor does.
    """
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise CalibError(
            "unsupported",
            f"the processor of {source} does not handle both images and text. Give a folder or hub "
            "id of a vision-language model with all its files.",
        )
    given = template_text(chat_template) if chat_template else None
    template = given or processor.chat_template or processor.tokenizer.chat_template
    if not (template.strip() if isinstance(template, str) else template):
        raise CalibError(
            "unsupported",
            f"the processor of {source} has no chat template, so it is a base model or expects "
            "plain text. Use an instruction-tuned checkpoint, or give model.chat_template.",
        )
    require_no_power(template)
    require_moderate_pictures(source, processor)
    processor.chat_template = with_fixed_date(template) if isinstance(template, str) else template
    processor.tokenizer.padding_side = "left"


def template_text(setting: str) -> str:
    """The chat template of model.chat_template: the setting itself, or the content of the file that
    it names.

    Raises CalibError for text without Jinja's braces that is not the path of a file.
    """
    if "{{" in setting or "{%" in setting:
        return setting
    try:
        text = file_text(home_expanded(setting), MAX_TEMPLATE)
        if not text.strip():
            raise ValueError("it is empty")
        return text
    except (OSError, ValueError) as error:
        raise CalibError(
            "not-found",
            f"model.chat_template={setting!r:.200} is neither a chat template (Jinja) nor a file "
            "with one. Give the path of a file such as chat_template.jinja.",
        ) from error


def require_variables(
    checkpoint: str,
    template: str | Mapping[str, str],
    kwargs: Mapping[str, Any],
    group: str = "model",
) -> None:
    """Raise CalibError (unknown-setting) for a name in ``group``.chat_template_kwargs that the chat
    template does not read: transformers would hand it to the processor, or ignore it."""
    source = template if isinstance(template, str) else template.get("default", "")
    known = _get_template_variables(source) if kwargs else frozenset()
    for name in kwargs:
        if name not in known:
            choices = sorted(known - {*OF_EVERY_TEMPLATE, *TEMPLATE_ARGUMENTS})
            raise CalibError(
                "unknown-setting",
                f"{group}.chat_template_kwargs: the chat template of {checkpoint} does not read "
                f"'{name}'.{did_you_mean(name, choices)} It reads "
                f"{', '.join(choices) or 'no settings'}. Omit '{name}'.",
            )


def require_moderate_pictures(checkpoint: str, processor: Any) -> None:
    """Raise CalibError (too-large) for a processor whose settings make every picture larger than
    MAX_PIXELS, or a prompt of more than MAX_COUNT tokens."""
    images = processor.image_processor
    # Of Qwen-VL and GLM-V, the edges of "size" are areas.
    of_area = hasattr(sys.modules[type(images).__module__], "smart_resize")
    sizes: dict[str, Any] = {**vars(images), **vars(processor)}
    for name, value in sizes.items():
        if name.endswith(("_id", "_ids", "_index")):
            continue
        sides = dict(value) if isinstance(value, SizeDict | dict) else {name: value}
        numbers = {key: side for key, side in sides.items() if type(side) is int}
        areas = of_area or "pixels" in name
        for key, number in numbers.items():
            most = MAX_PIXELS if areas and not key.startswith(("height", "width")) else MAX_COUNT
            if number > most:
                where = name if key == name else f"{name}.{key}"
                raise CalibError(
                    "too-large",
                    f"the processor of {checkpoint} has {where}={number}, and the limit is "
                    f"{most:,}. Correct it in the checkpoint's preprocessor_config.json or "
                    "processor_config.json, or download that file again.",
                )


def limit_pixels(
    processor: Any, name: str, most: int | None, least: int | None, tiles: bool
) -> int | None:
    """Limit the size of pictures in the terms of the image processor of checkpoint ``name``.

    ``most`` and ``least`` are model.max_pixels and model.min_pixels, ``tiles`` is model.tiles.
    Qwen-VL and GLM-V: bounds on the area (size.longest_edge and shortest_edge; GLM-V counts each
    frame). InternVL with tiles: the number of tiles (max_patches). Idefics3 and SmolVLM: the longer
    side (size.longest_edge). Returns the number of pixels to which pictures must be scaled down
    before the processor, for all other families; else None.

    Raises CalibError (unsupported) for a processor that brings every picture to one size and for a
    lower bound on one that has none, and (invalid-setting) for an upper bound below the lower one
    or below one tile.
    """
    images = processor.image_processor
    size = {key: value for key, value in dict(images.size or {}).items() if value}
    resize = getattr(sys.modules[type(images).__module__], "smart_resize", None)
    if resize is not None and {"longest_edge", "shortest_edge"} <= size.keys():
        frames = "num_frames" in inspect.signature(resize).parameters
        factor = images.temporal_patch_size if frames else 1
        limits = {"longest_edge": most, "shortest_edge": least}
        size |= {key: value * factor for key, value in limits.items() if value is not None}
        images.size = SizeDict(**size)
        if size["longest_edge"] < size["shortest_edge"]:
            raise CalibError(
                "invalid-setting",
                f"model.max_pixels={most} is below the least number of pixels of {name} "
                f"({size['shortest_edge'] // factor}). Lower model.min_pixels too.",
            )
        return None
    if least is not None:
        raise CalibError(
            "unsupported",
            f"model.min_pixels={least}: the processor of {name} has no lower bound on the size of "
            "a picture. Omit it.",
        )
    if most is None:
        return None
    if hasattr(images, "crop_to_patches") and tiles:
        images.max_patches = min(images.max_patches, most // (size["height"] * size["width"]))
        _require_one_tile(name, most, images.max_patches, size["height"] * size["width"])
        return None
    splits = getattr(images, "do_image_splitting", False)
    if hasattr(images, "max_image_size") and splits:
        side, tile = math.isqrt(most), images.max_image_size["longest_edge"]
        _require_one_tile(name, most, side // tile, tile**2)
        longest = min(side // tile * tile, size["longest_edge"])  # sides are rounded up to tiles
        images.size = SizeDict(longest_edge=longest)
        return None
    varies = splits or hasattr(images, "image_grid_pinpoints") or hasattr(images, "max_image_tiles")
    one_size = "height" in size or bool(getattr(images, "do_center_crop", False))
    if not varies and (one_size or hasattr(images, "max_image_size")):
        hint = " Without model.tiles=true it is one tile." if hasattr(images, "max_patches") else ""
        raise CalibError(
            "unsupported",
            f"model.max_pixels={most} has no effect on {name}: its processor brings every picture "
            f"to the same size.{hint} Omit it.",
        )
    return most


def _require_one_tile(name: str, most: int, count: int, pixels: int) -> None:
    if count < 1:
        raise CalibError(
            "invalid-setting",
            f"model.max_pixels={most} is less than one tile of {name}, {pixels} pixels. Raise it.",
        )


def scaled_down(picture: Callable[[], Image.Image], most: int) -> Image.Image:
    """The picture with at most ``most`` pixels, in the same proportions (Pillow, bicubic)."""
    image = picture()
    ratio = math.sqrt(most / (image.width * image.height))
    if ratio >= 1:
        return image
    return image.resize((max(1, int(image.width * ratio)), max(1, int(image.height * ratio))))


def with_fixed_date(template: str) -> str:
    """A chat template whose calls of strftime_now are replaced by FIXED_DATE."""

    def format_date(call: re.Match[str]) -> str:
        return repr(FIXED_DATE.strftime(call[2]))

    return re.sub(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""", format_date, template)


def tokenizer_state(tokenizer: Any) -> str:
    """Everything that decides a tokenizer's tokens, as JSON."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a slow tokenizer: its vocabulary
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # Padding and truncation are left in the serialised state by earlier calls.
    state = json.loads(backend.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return json.dumps(state, sort_keys=True)
