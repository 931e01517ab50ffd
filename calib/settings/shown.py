"""Examples in another form, for methods that compare what a model makes of both."""

from collections.abc import Callable, Sequence

from calib.data.example import Example


class Shown:
    """Examples in another form, each made once, so that it is read once."""

    def __init__(self, make: Callable[[Example], Example]) -> None:
        self.make = make
        self._made: dict[int, tuple[Example, Example]] = {}  # by id(); holds the example alive

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Each example as it is shown."""
        for example in examples:
            if id(example) not in self._made:
                self._made[id(example)] = (example, self.make(example))
        return [self._made[id(example)][1] for example in examples]
