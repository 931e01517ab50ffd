"""Drawings of emoji in five styles, with the names and kinds of the things that they show.

One style, Twitter's, is held out for the common things: the model learns those from the other
styles, and Twitter's style from all other things. The pictures are kept in one file beside the
downloads and are never committed.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.sources import (
    BLOB,
    FLUENT,
    GOOGLE,
    NAMES,
    TWITTER,
    Source,
    fetched,
    member,
    members,
)
from experiments.smolvlm_emoji.things import COMMON, LEFT_OUT, plain_name

SIDE = 64
"""Width and height of a drawing in pixels."""
GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
HELD_OUT = "twitter"
"""The style that is held out for COMMON."""
KINDS = {
    "animal": "animal", "plant": "plant", "food-fruit": "fruit", "food-vegetable": "vegetable",
    "food": "food", "drink": "drink", "dishware": "thing for the table", "place": "place",
    "transport": "vehicle", "time": "thing that shows the time", "sky": "thing in the sky",
    "sport": "sport", "game": "game", "clothing": "piece of clothing", "music": "thing for music",
    "musical": "musical instrument", "tool": "tool", "writing": "thing for writing",
    "office": "thing for the office", "book": "thing made of paper", "medical": "medical thing",
    "household": "household thing", "money": "kind of money", "phone": "device",
    "computer": "device", "light": "device", "science": "thing for science",
}  # fmt: skip
"""Kinds of things by the beginning of Unicode's subgroup; the longest beginning counts."""


@dataclass(frozen=True)
class Drawings:
    """All drawings, in a fixed order."""

    names: tuple[str, ...]
    """Of the thing on each drawing."""
    kinds: tuple[str, ...]
    """Of that thing; empty if it has none in KINDS."""
    styles: tuple[str, ...]
    pictures: np.ndarray
    """# [drawings, SIDE, SIDE, 4] uint8, RGBA"""

    @property
    def known_names(self) -> tuple[str, ...]:
        """The distinct names, in order of their first drawing."""
        return tuple(dict.fromkeys(self.names))

    @property
    def held_out(self) -> np.ndarray:
        """Whether each drawing is for evaluation only. # [drawings] bool"""
        pairs = zip(self.names, self.styles, strict=True)
        return np.array([name in COMMON and style == HELD_OUT for name, style in pairs])


def load_drawings(cache: Path) -> Drawings:
    """Read the drawings from their file in ``cache``, made from the packages if absent."""
    path = cache / "drawings.npz"
    if not path.exists():
        made = _made(cache)
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(
            partial, names=made.names, kinds=made.kinds, styles=made.styles, pictures=made.pictures
        )
        partial.replace(path)
    with np.load(path) as file:
        names, kinds, styles = (tuple(map(str, file[key])) for key in ("names", "kinds", "styles"))
        return Drawings(names, kinds, styles, file["pictures"])


def _made(cache: Path) -> Drawings:
    table = json.loads(member(fetched(GOOGLE, cache), "emoji.json"))
    subgroups = {character(row["unified"]): row["subcategory"] for row in table}
    emoji = json.loads(member(fetched(NAMES, cache), "data-by-emoji.json"))
    used = {
        shown: entry
        for shown, entry in emoji.items()
        if entry["group"] in GROUPS and not any(part in entry["name"] for part in LEFT_OUT)
    }
    styles = {
        "google": _pictures(GOOGLE, cache, "img/google/64/"),
        "blob": _pictures(BLOB, cache, "img/google/64/"),
        "twitter": _pictures(TWITTER, cache, "img/twitter/64/"),
        "flat": _rendered(cache, "flat", used),
        "modern": _rendered(cache, "modern", used),
    }
    rows = [
        (plain_name(entry["name"]), _kind(subgroups.get(bare(shown), "")), style, of[bare(shown)])
        for shown, entry in used.items()
        for style, of in styles.items()
        if bare(shown) in of
    ]
    names, kinds, owners, pictures = zip(*rows, strict=True)
    if absent := sorted(set(COMMON) - set(names)):
        raise CalibError("mismatch", f"no drawing of {', '.join(absent)}")
    return Drawings(names, kinds, owners, np.stack(pictures))


def character(code_points: str) -> str:
    """The emoji of code points in hexadecimal, joined by "-", without its variation selector."""
    return bare("".join(chr(int(point, 16)) for point in code_points.split("-")))


def bare(shown: str) -> str:
    """An emoji without the selector of coloured presentation, which packages use unequally."""
    return shown.replace("\ufe0f", "")


def _kind(subgroup: str) -> str:
    fitting = [start for start in KINDS if subgroup.startswith(start)]
    return KINDS[max(fitting, key=len)] if fitting else ""


def _pictures(source: Source, cache: Path, folder: str) -> dict[str, np.ndarray]:
    """The PNG files of a package, by emoji."""
    files = members(fetched(source, cache), folder)
    return {character(Path(name).stem): _pixels(content) for name, content in files}


def _rendered(cache: Path, style: str, used: dict[str, dict]) -> dict[str, np.ndarray]:
    """Fluent's SVG files of one style, rendered, by emoji."""
    try:
        import resvg_py
    except ImportError as error:
        raise CalibError(
            "needs-package",
            "Fluent Emoji's drawings are SVG: pip install resvg-py==0.5.0",
        ) from error
    slugs = {entry["slug"].replace("_", "-"): bare(shown) for shown, entry in used.items()}
    found = {}
    for name, content in members(fetched(FLUENT, cache), f"icons/{style}/"):
        if shown := slugs.get(Path(name).stem):
            svg = content.decode("utf-8")
            found[shown] = _pixels(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE)))
    return found


def _pixels(content: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
