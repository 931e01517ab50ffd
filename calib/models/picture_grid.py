"""The grid in which the tokens of a picture lie over it."""

import math

from calib.data.example import Example
from calib.models.load import VLM
from calib.models.prompts import Prompt

_CUTS = (
    "crop_to_patches", "do_center_crop", "do_image_splitting", "do_pad", "do_pan_and_scan",
    "image_grid_pinpoints",
)  # fmt: skip
"""Settings of image processors under which tokens lie elsewhere than in one grid over the whole
picture: it is cut into tiles, cropped or padded."""


def picture_grid(vlm: VLM, example: Example, prompt: Prompt) -> tuple[int, int] | None:
    """Rows and columns of the image tokens of a prompt, which cover its picture row by row.

    None where that is unknown: with several pictures, with tiles, and with processors that crop or
    pad. Qwen's grids (image_grid_thw) are counted in patches, of which spatial_merge_size² are one
    token; a picture that is scaled to a square has as many rows as columns.
    """
    count = int(prompt.image_mask.sum())
    pictures = [*example.pictures, *(p for turn in example.demonstrations for p in turn.pictures)]
    if len(pictures) != 1 or not count:
        return None
    if (grids := prompt.pixel_inputs.get("image_grid_thw")) is not None:
        merged = getattr(vlm.model.config.vision_config, "spatial_merge_size", 1)
        frames, rows, columns = (int(number) for number in grids[0])
        grid = rows // merged, columns // merged
        return grid if frames == 1 and math.prod(grid) == count else None
    processor = getattr(vlm.processor, "image_processor", None)
    size = dict(getattr(processor, "size", None) or {})
    square = size.get("height") is not None and size.get("height") == size.get("width")
    side = math.isqrt(count)
    if not square or side * side != count or any(getattr(processor, cut, None) for cut in _CUTS):
        return None
    return side, side
