"""Parts of a benchmark, and which of them SRA counts."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from calib.data.text_image import PERTURBATIONS

PAIRED_QUERIES = ("image_centric", "text_centric")
SAFETY_DATASETS = (*PAIRED_QUERIES, "dual_use")


class Placed(Protocol):
    """An example, or a response to one."""

    @property
    def dataset(self) -> str: ...

    @property
    def variant(self) -> str: ...


One = TypeVar("One", bound=Placed)


def counted_in_sra(some: Iterable[One]) -> list[One]:
    """What SRA is a share of, and an operating point is chosen by: image- and text-centric queries.

    Where there are none, those on original dual-use pictures (SRA_u is then RR_h, and SRA_s DAR_b):
    perturbed copies are not independent of what they copy.
    """
    found = list(some)
    paired = [one for one in found if one.dataset in PAIRED_QUERIES]
    return paired or [
        one for one in found if one.dataset == "dual_use" and one.variant not in PERTURBATIONS
    ]
