"""Long lists in messages."""

from collections.abc import Iterable


def shortened(items: Iterable[object], most: int) -> list[str]:
    """The first ``most`` items as text, and the number of the others as a last one: "3 more".

    A single other item takes the place of its number.
    """
    texts = [str(item) for item in items]
    others = len(texts) - most
    return texts if others <= 1 else [*texts[:most], f"{others} more"]
