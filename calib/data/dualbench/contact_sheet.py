"""Many pictures on one: a twin of some categories in every variant, to look at before use."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from calib.data.dualbench.rendering import VARIANTS
from calib.data.dualbench.typesetting import Typeface
from calib.data.example import Example

CATEGORIES = 4
"""At most this many categories are shown, spread over those that there are."""
THUMBNAIL = 224  # pixels
_GAP, _HEAD, _SIDE = 8, 28, 150  # pixels; the head is above the columns, the side left of the rows


def contact_sheet(examples: Sequence[Example]) -> bytes:
    """A PNG with two rows, harmful and benign, for the first twin of some categories, and a column
    for each variant. Its size does not depend on the number of examples."""
    variants = [v for v in VARIANTS if any(e.variant == v for e in examples)]
    shown = _first_pairs(examples)
    cell = THUMBNAIL + _GAP
    size = (_SIDE + cell * len(variants), _HEAD + cell * 2 * len(shown))
    sheet = Image.new("RGB", size, (225, 225, 225))
    draw, font = ImageDraw.Draw(sheet), Typeface().at(14)
    for column, variant in enumerate(variants):
        draw.text((_SIDE + column * cell, 6), variant, fill="black", font=font)
    places = {(pair, side): k for k, pair in enumerate(shown) for side in ("unsafe", "safe")}
    for example in examples:
        if (example.pair, example.safety) not in places or example.picture is None:
            continue
        row = 2 * places[str(example.pair), str(example.safety)] + (example.safety == "safe")
        top = _HEAD + row * cell
        if example.variant == variants[0]:
            side = "harmful" if example.safety == "unsafe" else "benign"
            label = "\n".join([*example.category.split(" "), "", side])
            draw.multiline_text((_GAP, top + _GAP), label, fill="black", font=font)
        small = example.picture().resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (_SIDE + variants.index(example.variant) * cell, top))
    held = io.BytesIO()
    sheet.save(held, format="PNG")
    return held.getvalue()


def _first_pairs(examples: Sequence[Example]) -> list[str]:
    """The first pair of CATEGORIES categories, evenly spread over all in their order."""
    first: dict[str, str] = {}
    for example in examples:
        first.setdefault(example.category, str(example.pair))
    pairs = list(first.values())
    number = min(CATEGORIES, len(pairs))
    return [pairs[k * len(pairs) // number] for k in range(number)]
