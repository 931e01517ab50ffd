"""Transformed examples, such as those with other pictures, each made once."""

import weakref
from collections.abc import Callable, Sequence

from calib.data.example import Example


class ExampleCache:
    """Transformed examples, each made once, so that its activations are also read only once.

    A transformed example is forgotten with its original: a run's examples live as long as the run,
    and those of a request to a server as long as the request.
    """

    def __init__(self, transform: Callable[[Sequence[Example]], Sequence[Example]]) -> None:
        """``transform`` gets distinct examples, and returns the transformed form of each."""
        self._transform = transform
        # By id(), since examples have no hash; a weak reference ends its entry before an id() is
        # used again. A transformed example that is its original would keep itself alive.
        self._transformed: dict[int, tuple[weakref.ref[Example], Example | None]] = {}

    def __len__(self) -> int:
        return len(self._transformed)

    def get(self, examples: Sequence[Example]) -> list[Example]:
        """The transformed form of each example."""
        missing = {id(each): each for each in examples if id(each) not in self._transformed}
        if missing:
            originals = list(missing.values())
            made = self._transform(originals)
            for original, transformed in zip(originals, made, strict=True):
                self._add(original, None if transformed is original else transformed)
        return [self._transformed[id(example)][1] or example for example in examples]

    def _add(self, original: Example, transformed: Example | None) -> None:
        key, entries = id(original), self._transformed

        def forget(_: object) -> None:
            entries.pop(key, None)

        entries[key] = (weakref.ref(original, forget), transformed)
