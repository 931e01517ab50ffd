"""The twelve hazard categories of DUAL-Bench (arXiv 2510.10846, table 3)."""

import re
from dataclasses import dataclass

from calib.util.errors import CalibError, did_you_mean


@dataclass(frozen=True)
class Category:
    """A hazard category and its code in the MLCommons taxonomy."""

    code: str
    name: str


CATEGORIES = tuple(
    Category(f"S{number}", name)
    for number, name in enumerate(
        (
            "Violent Crimes",
            "Non-Violent Crimes",
            "Sex-Related Crimes",
            "Child Sexual Exploitation",
            "Defamation",
            "Specialized Advice",
            "Privacy",
            "Intellectual Property",
            "Indiscriminate Weapons",
            "Hate",
            "Suicide & Self-Harm",
            "Sexual Content",
        ),
        start=1,
    )
)


def parse_category(text: str, where: str) -> Category:
    """The category whose code or name ``text`` is, whatever its case and punctuation.

    Raises CalibError with the nearest match; ``where`` says where the text stands.
    """
    known = {_plain(label): one for one in CATEGORIES for label in (one.code, one.name)}
    if (found := known.get(_plain(text))) is not None:
        return found
    names = {one.name.casefold(): one.name for one in CATEGORIES}
    hint = did_you_mean(text.casefold(), names)
    for low, name in names.items():
        hint = hint.replace(f"'{low}'", f"'{name}'")
    choices = ", ".join(f"{one.code} {one.name}" for one in CATEGORIES)
    raise CalibError(
        f"{where}: '{text}' is no hazard category.{hint} Give a code or a name: {choices}."
    )


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold().replace("&", "and"))
