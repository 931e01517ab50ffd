"""Open rates of a gate by part: a pooled rate can hide a part for which the gate does not work."""

from collections.abc import Sequence

from calib.data.example import Example


def open_rates_by_part(opened: Sequence[bool], examples: Sequence[Example]) -> str:
    """For how many unsafe and safe examples of each part a gate opens, as text for a note.

    ``opened`` corresponds to ``examples``. Empty unless the examples have several parts.
    """
    counts: dict[str, dict[str, list[bool]]] = {}
    for example, is_open in zip(examples, opened, strict=True):
        sides = counts.setdefault(example.dataset, {"unsafe": [], "safe": []})
        if example.safety is not None:
            sides[example.safety].append(is_open)
    if len(counts) < 2:
        return ""
    parts = [
        f"{part} {_share(sides['unsafe'])} of unsafe and {_share(sides['safe'])} of safe"
        for part, sides in sorted(counts.items())
    ]
    return f"; by part: {', '.join(parts)}"


def _share(opened: Sequence[bool]) -> str:
    return f"{sum(opened)}/{len(opened)}"
