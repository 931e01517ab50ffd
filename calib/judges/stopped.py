"""How a judge says that it cannot go on without losing what it has found."""

from collections.abc import Mapping

from calib.errors import CalibError
from calib.judges.judge import Verdict


class Stopped(CalibError):
    """A judge stopped in the middle of a batch: the budget is used up, the endpoint is gone.

    Whoever records verdicts records ``finished`` too, then lets the error go on to the user: the
    next run asks for the rest only. Verdicts of earlier calls have been returned already, so what
    a killed process can lose is one batch.
    """

    def __init__(self, message: str, finished: Mapping[int, Verdict]) -> None:
        super().__init__(message)
        self.finished = finished
        """Verdicts that were found before, by their place in the batch."""
