"""A slider for strength in a notebook: the response to one query, generated at each position."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calib.api.model import CalibratedModel, Model, require_model
from calib.api.queries import Query, Shown, as_examples
from calib.api.steering import require_direction
from calib.config.checks import finite_number
from calib.directions.direction import Direction
from calib.util.errors import CalibError

if TYPE_CHECKING:
    import ipywidgets

STEPS = 24
"""Positions of the slider."""


def slider(
    vlm: Model,
    direction: Direction | None,
    query: Query,
    picture: Shown = None,
    *,
    strengths: Sequence[float] = (-3.0, 3.0),
    layers: int | Sequence[int] | None = None,
    **settings: Any,
) -> "ipywidgets.Widget":
    """A slider for Jupyter that shows the response to a query at each strength.

    ``strengths`` are the least and the largest; ``layers`` and ``settings`` are those of
    Model.steer and Model.generate. With the result of Model.calibrated, ``direction`` is None and
    the strength is the method's. The slider starts at 0, the model without it, and generates when
    it is released.

    Raises CalibError (needs-package) without ipywidgets, which the extra calib[notebook] brings,
    and as Model.steer and Model.generate do.
    """
    require_model(vlm)
    least, largest = _bounds(strengths)
    if direction is not None:
        require_direction(direction)
    elif not isinstance(vlm, CalibratedModel):
        raise CalibError(
            "missing-setting",
            "There is nothing to change the strength of. Give a calib.Direction, or the model that "
            "vlm.calibrated(method, pairs) returns.",
        )
    (example,) = as_examples([query], [picture])
    widgets = _ipywidgets()

    def response(strength: float) -> str:
        if direction is None:
            assert isinstance(vlm, CalibratedModel)
            return vlm.at(strength).generate(example, **settings)
        with vlm.steer(direction, strength, layers):
            return vlm.generate(example, **settings)

    start = min(max(0.0, least), largest)
    chosen = widgets.FloatSlider(
        value=start,
        min=least,
        max=largest,
        step=(largest - least) / STEPS,
        description="strength",
        continuous_update=False,
    )
    # A text area shows text as it is: responses are not trusted, and no markup.
    shown = widgets.Textarea(
        value=response(start),
        disabled=True,
        description="response",
        layout=widgets.Layout(width="40em", height="6em"),
    )
    chosen.observe(lambda change: setattr(shown, "value", response(change["new"])), "value")
    return widgets.VBox([chosen, shown])


def _bounds(strengths: Any) -> tuple[float, float]:
    strengths = strengths.tolist() if hasattr(strengths, "tolist") else strengths
    if isinstance(strengths, str) or not isinstance(strengths, Sequence) or len(strengths) != 2:
        raise CalibError(
            "invalid-setting",
            f"strengths: {strengths!r:.80} is not (least, largest). Give two numbers.",
        )
    for strength in strengths:
        finite_number("strengths", strength)
    if strengths[0] >= strengths[1]:
        raise CalibError(
            "invalid-setting", f"strengths: {strengths!r:.80} is not (least, largest)."
        )
    return float(strengths[0]), float(strengths[1])


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise CalibError(
            "needs-package", "calib.slider needs ipywidgets: pip install 'calib[notebook]'."
        ) from error
    return ipywidgets
