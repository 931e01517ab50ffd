"""A loaded model that can be steered, calibrated and swept, and the models that this gives."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from calib.api.building import FittedMethod, build_method, choose_setting
from calib.api.loaded import LoadedModel, warn
from calib.api.queries import as_examples
from calib.api.settings import IN_CALIBRATED, in_python
from calib.api.sources import as_pairs
from calib.api.steering import require_direction, steering_edits
from calib.api.sweeping import sweep
from calib.config.model import default_length
from calib.data.example import Example, Pair
from calib.directions.direction import Direction
from calib.directions.fit import require_match
from calib.engine.edits import Edits
from calib.runs.run import Run
from calib.util.errors import CalibError


class Model(LoadedModel):
    """A loaded model, with the edits of the ``steer`` blocks that are open."""

    def steer(
        self,
        direction: Direction,
        strength: float | None = None,
        layers: int | Sequence[int] | None = None,
        positions: str | None = None,
        operator: str | None = None,
    ) -> "SteeredModel":
        """This model steered along ``direction``: what it returns generates so, and as a context,
        ``with vlm.steer(direction, 2):``, this model does in the block.

        ``strength`` is in the unit of the operator (add: gaps between the class means); ``layers``
        count from 0. Arguments that are None default to the direction's own values; a direction
        without a selected layer is used at the layer of its largest held-out AUROC, and one without
        positions at those of method=steer (response). Blocks can be nested: their edits are applied
        in order. A result that is never used is a RuntimeWarning, since nothing was steered.

        Raises CalibError when the direction was read from another model (mismatch), lacks a layer,
        or has several layers and no AUROC to select by (missing-setting), and for arguments of
        another kind (invalid-value, invalid-setting).
        """
        require_direction(direction)
        warn(require_match(direction, self.vlm, ""))
        edits = steering_edits(self.vlm, direction, strength, layers, positions, operator)
        return SteeredModel(self, edits, direction)

    def calibrated(
        self,
        method: str,
        pairs: str | Path | Sequence[Pair] | None = None,
        *,
        layer: int | None = None,
        strength: float | None = None,
        held_out: float = 0.25,
        utility: Sequence[Example] = (),
        judge: str = "auto",
        **settings: Any,
    ) -> "CalibratedModel":
        """This model under a calibration method, fitted here: ``generate`` is calibrated.

        ``method`` is a name of docs/methods.md, and ``settings`` are its settings, e.g.
        gate="probe". ``pairs`` are those of calib.fit; methods that only add a text need none. The
        share ``held_out`` of the pairs, in whole clusters, selects what a method selects on
        validation, such as a gate's threshold. ``judge`` labels the model's own responses, for
        methods that are fitted to them. ``utility`` are questions that nullspace leaves unchanged.

        Without ``layer``, the layer is the one with the largest held-out AUROC; without
        ``strength``, it is a typical one of the method. These are starting points, not results:
        ``sweep`` selects them by their effect on safety and helpfulness.

        Raises CalibError for a method, setting or judge that does not exist, a method that cannot
        be fitted to these pairs, and a layer or strength that it does not have.
        """
        examples = [] if pairs is None else as_pairs(pairs)
        questions = as_examples(utility, what="utility questions")
        with in_python(IN_CALIBRATED, r"method\."):
            fitted = build_method(
                self.vlm,
                method,
                settings,
                examples,
                held_out,
                questions,
                judge,
                default_length(self.config),
            )
        return CalibratedModel(self, fitted, *choose_setting(fitted, layer, strength))

    def sweep(
        self,
        methods: str | Sequence[str],
        data: str | Path = "mini",
        *,
        utility: str = "auto",
        judge: str = "auto",
        out: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run ``python -m calib.sweep`` on this model, or resume it; the finished run.

        ``methods`` are names of docs/methods.md. ``data`` is the name of a benchmark or the path of
        a table or folder of pairs; ``utility`` and ``judge`` are names too, by default those that
        suit the model and the data. ``settings`` are others of docs/configuration.md, by their
        names there: {"data.limit": 60, "method.layers": [3]}; with several methods,
        "methods.NAME.layers". ``out`` is the run's folder.

        ``run.results`` has every number with its interval, and ``calib.draw`` draws the run. Raises
        CalibError as the command does.
        """
        return sweep(self.vlm, self.config, methods, data, utility, judge, out, settings or {})


class SteeredModel(Model):
    """A model with the edits of one call of ``steer``. As a context, it steers that model."""

    def __init__(self, model: Model, edits: Edits, direction: Direction) -> None:
        super().__init__(model.vlm, model.config)
        self.direction = direction
        self._model, self._own, self._used = model, edits, False
        self._intervention = model._intervention
        self._edits, self._engines = model._edits, model._engines

    def __repr__(self) -> str:
        steered = f"{super().__repr__().strip('<>')} along {self.direction!r}"
        return f"<{steered}: call generate(), or use it in a with block>"

    def _blocks(self) -> list[Edits]:
        self._used = True
        own = [] if any(block is self._own for block in self._edits) else [self._own]
        return [*self._model._blocks(), *own]

    def __enter__(self) -> Model:
        self._used = True
        self._edits.append(self._own)
        return self._model

    def __exit__(self, *_: object) -> None:
        del self._edits[max(k for k, block in enumerate(self._edits) if block is self._own)]

    def __del__(self) -> None:
        # As Python warns about a coroutine that was never awaited.
        if not getattr(self, "_used", True) and not sys.is_finalizing():
            warnings.warn(
                "The result of vlm.steer(...) was not used, so nothing was steered. Write 'with "
                "vlm.steer(...):', or call generate() of the result.",
                RuntimeWarning,
                stacklevel=2,
            )

    def calibrated(self, *_: Any, **__: Any) -> NoReturn:
        """Raise CalibError (unsupported): a method is fitted to the model without edits."""
        self._used = True
        raise CalibError(
            "unsupported",
            "A method is fitted to the model without edits, and this one is steered. Call "
            "calibrated() of the model that it was made from, and then steer() of the result.",
        )

    def sweep(self, *_: Any, **__: Any) -> NoReturn:
        """Raise CalibError (unsupported): a sweep compares settings with the unsteered model."""
        self._used = True
        raise CalibError(
            "unsupported",
            "This model is steered. Call sweep() of the one that it was made from.",
        )


class CalibratedModel(Model):
    """A model under one setting of a fitted method. As a context, it is what ``with`` gives."""

    def __init__(
        self, model: Model, fitted: FittedMethod, layer: int | None, strength: float
    ) -> None:
        super().__init__(model.vlm, model.config)
        self._fitted = fitted
        self.method = fitted.method
        """The fitted method: its layers, its notes, and its direction if it has one."""
        self.layer, self.strength = layer, strength
        self._intervention = self.method.setting(layer, strength).intervention
        self._edits, self._engines = model._edits, model._engines  # blocks of both count

    def __repr__(self) -> str:
        where = "" if self.layer is None else f" at layer {self.layer}"
        name = f"{self.method.name}{where}, strength {self.strength:g} ({self.method.axis.meaning})"
        return f"<{super().__repr__().strip('<>')}, calibrated by {name}>"

    def __enter__(self) -> "CalibratedModel":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to undo: the model that this one was made from stays uncalibrated."""

    def at(self, strength: float | None = None, layer: int | None = None) -> "CalibratedModel":
        """The same fitted method at another strength or layer; None keeps the present one.

        Raises CalibError for a layer or strength that the method does not have.
        """
        chosen = choose_setting(
            self._fitted,
            self.layer if layer is None else layer,
            self.strength if strength is None else strength,
        )
        return CalibratedModel(self, self._fitted, *chosen)

    def calibrated(self, *_: Any, **__: Any) -> NoReturn:
        """Raise CalibError (unsupported): a second method would replace the first."""
        raise CalibError(
            "unsupported",
            f"This model is calibrated by {self.method.name} already. Call calibrated() of the "
            'model that it was made from; "combine" joins a prompt with an activation method.',
        )

    def sweep(self, *_: Any, **__: Any) -> NoReturn:
        """Raise CalibError (unsupported): a sweep compares settings with the uncalibrated model."""
        raise CalibError(
            "unsupported",
            f"A sweep starts from the uncalibrated model, and this one is calibrated by "
            f"{self.method.name}. Call sweep() of the model that it was made from.",
        )


def require_model(value: Any) -> None:
    """Raise CalibError (invalid-value) for what is no model of calib."""
    if not isinstance(value, Model):
        raise CalibError(
            "invalid-value",
            f"The model is of type {type(value).__name__}. Give what calib.load(name) returns, or "
            "calib.wrap(model, processor) for a model of transformers that is loaded already.",
        )
