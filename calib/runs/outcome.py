"""A judged run and what was chosen in it: all that is shown at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calib.scoring.judged import Judged
from calib.scoring.results import Result
from calib.scoring.tradeoff import OperatingPoint


@dataclass(frozen=True)
class Outcome:
    """A judged run and what was chosen in it."""

    checkpoint: str
    judged: Sequence[Judged]
    results: list[Result]
    chosen: Mapping[str, tuple[int | None, OperatingPoint]]
    """The layer and the operating point of each method, or of the uncalibrated model alone."""
    axes: Mapping[str, str]
    """What the strength of each method means."""
    prompts: Sequence[str]
    """Methods that change the prompt alone."""
    mapping: str
    sliced: bool
    """Whether SRA is shown by variant and category too."""
    reference: str | None = None
    """The prompt-only method that was asked for comparison only, if there is one."""
