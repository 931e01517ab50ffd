"""Settings of the choice of an operating point among a method's settings, on validation."""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import between
from calib.util.errors import CalibError

SIDES = ("sra_u", "sra_s")


def _equal_weights() -> dict[str, float]:
    return {"sra_u": 1.0, "sra_s": 1.0}


@dataclass
class ChooseConfig:
    """The rule by which a method's operating point is chosen on validation. The uncalibrated model
    is always a candidate."""

    utility_tolerance: float = 0.01
    """Accepted loss of utility, as a share of the questions. A setting is excluded if it loses more
    with the stated confidence; where the questions cannot tell, the run says so."""
    confidence: float = 0.95
    """Level of the two-sided intervals that exclude a setting."""
    min_sra_u: Any = "baseline"
    """Condition on SRA_u. baseline: exclude a setting that lowers SRA_u measurably, that is, its
    paired interval is below 0; a number from 0 to 1: exclude a setting with a lower SRA_u; null: no
    condition."""
    weights: dict[str, float] = field(default_factory=_equal_weights)
    """Weights of SRA_u and SRA_s in the rate that is maximised; equal weights give SRA."""

    def __post_init__(self) -> None:
        between("choose.utility_tolerance", self.utility_tolerance, 0.0, 1.0)
        if not 0.5 <= self.confidence < 1:
            raise CalibError(
                "invalid-setting",
                f"choose.confidence: {self.confidence} is not a confidence level. Give at least "
                "0.5 and less than 1, e.g. 0.95.",
            )
        floor = self.min_sra_u
        is_rate = isinstance(floor, int | float) and not isinstance(floor, bool)
        if floor not in (None, "baseline") and not (is_rate and 0 <= floor <= 1):
            raise CalibError(
                "invalid-setting",
                f"choose.min_sra_u: {floor!r} is not baseline, null or a rate. Give a rate from 0 "
                "to 1, e.g. 0.9.",
            )
        weights = self.weights
        valid = weights.keys() == set(SIDES) and all(0 <= w < 1e9 for w in weights.values())
        if not valid or not any(weights.values()):
            raise CalibError(
                "invalid-setting",
                f"choose.weights: {dict(weights)} does not weigh {' and '.join(SIDES)}. Give two "
                "numbers of at least 0, not both 0, e.g. choose.weights={sra_u:2,sra_s:1}.",
            )
