"""What a loader gives: examples, and what to know about them."""

from dataclasses import dataclass, field

from calib.data.example import Example


@dataclass(frozen=True)
class Benchmark:
    """Examples of all splits, and what a reader of the results must know about them."""

    examples: list[Example]
    """Twins stand together, so that a limit on their number keeps pairs whole."""
    notes: list[str] = field(default_factory=list)
    """Every defect handled, everything rendered or left out: one sentence each, with its count."""
