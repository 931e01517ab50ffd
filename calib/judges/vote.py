"""What several models decide together."""

from collections import Counter
from collections.abc import Sequence

from calib.scoring.labels import Label


def majority(votes: Sequence[Label | None]) -> Label | None:
    """The label that more than half of the readable votes give; None where there is none.

    A vote is None where the model's reply could not be read. More than half of all models must
    have been read: of three models one alone decides nothing, and of two both must agree.
    """
    read = [vote for vote in votes if vote is not None]
    if 2 * len(read) <= len(votes):
        return None
    label, count = Counter(read).most_common(1)[0]
    return label if 2 * count > len(read) else None
