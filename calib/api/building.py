"""Fit a calibration method by its name, and choose the layer and strength to begin with."""

import numbers
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from calib import methods
from calib.api.settings import compose_sweep
from calib.config.checks import between, finite_number, one_of
from calib.config.choices import Split
from calib.config.method import Combine, Steer
from calib.config.prompts import Calibration, MethodConfig, NoneMethod
from calib.config.sweep import SweepConfig
from calib.data.example import Benchmark, Example, Pair
from calib.data.split_levels import hold_out
from calib.directions.direction import Direction, read_direction
from calib.directions.separation import best_layer, chance_note
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.models.load import VLM
from calib.serving.refit import build_without_examples, fitted_to, needs_examples
from calib.util.errors import CalibError


@dataclass(frozen=True)
class FittedMethod:
    """A fitted method, with the layer and strength that it starts from."""

    method: Method
    strengths: Sequence[float]
    """Configured strengths: the only ones of a method whose strength is a number of a variant."""
    layer: int | None
    """Layer with the largest held-out AUROC; None if there is none to choose, or no AUROC."""
    strength: float
    layer_note: str = ""
    """A sentence where that AUROC is not above chance."""


def build_method(
    vlm: VLM,
    name: str,
    settings: Mapping[str, Any],
    pairs: Sequence[Pair],
    held_out: float,
    utility: list[Example],
    judge: str,
    length: int,
) -> FittedMethod:
    """Fit the method ``name`` to pairs. Raises CalibError as Model.calibrated does.

    ``length`` is the largest number of tokens of the responses that it is fitted to.
    """
    one_of("method", name, methods.names())
    finite_number("held_out", held_out)
    between("held_out", held_out, 0.0, 0.9)
    parts = {key: settings[key] for key in ("prompt", "activation") if key in settings}
    own = {f"method@method.{key}": value for key, value in parts.items()}
    own |= {f"method.{key}": value for key, value in settings.items() if key not in parts}
    own["generation.max_new_tokens"] = length
    config = compose_sweep({"method": name, "judge": judge}, own)
    chosen = _calibration(config.method)
    for key, found in (("kl", None), ("layers", "all")):
        value = getattr(chosen, key, found)
        if value == "auto" or (key == "kl" and value is not None):
            raise CalibError(
                "unsupported",
                f"{key}: {value!r} is selected by measurements, which only a sweep makes. Use "
                "vlm.sweep, or give layer and strength.",
            )
    if not needs_examples(config.method):
        method = build_without_examples(vlm, config.method)
        return _starting(method, chosen, settings, _given_direction(chosen))
    if not pairs:
        raise CalibError(
            "missing-setting",
            f"'{name}' is fitted to pairs of a safe and an unsafe query. Give them: "
            f"vlm.calibrated('{name}', pairs), as to calib.fit.",
        )
    return _fitted(vlm, config, chosen, settings, pairs, held_out, utility)


def _fitted(
    vlm: VLM,
    config: SweepConfig,
    chosen: Calibration,
    settings: Mapping[str, Any],
    pairs: Sequence[Pair],
    held_out: float,
    utility: list[Example],
) -> FittedMethod:
    splits: tuple[Split, Split] = ("train", "validation")
    parts = hold_out(pairs, held_out)
    examples = [
        replace(example, split=split, id=f"{split}/{k}/{example.safety}")
        for split, part in zip(splits, parts, strict=True)
        for k, pair in enumerate(part)
        for example in (pair.safe, pair.unsafe)
    ]
    data = Benchmark(examples), Benchmark(utility)
    try:
        with (
            TemporaryDirectory() as folder,
            fitted_to(
                vlm, config.method, *data, config.generation, config.judge, "", config.seed,
                Path(folder),
            ) as (method, fitting),
        ):  # fmt: skip
            direction = method.direction or _safety(method, fitting)
            return _starting(method, chosen, settings, direction)
    except CalibError as error:
        raise _needing_less_held_out(error, parts) from error


def _needing_less_held_out(error: CalibError, parts: Sequence[Sequence[Pair]]) -> CalibError:
    """The error that there are too few pairs, with how many were held out."""
    fitted, held = map(len, parts)
    if error.code != "too-few" or not held:
        return error
    return CalibError(
        error.code,
        f"{error} (The method was fitted to {fitted} pairs, and {held} were held out, in whole "
        "clusters: give held_out=0 or more pairs.)",
    )


def _safety(method: Method, fitting: Fitting) -> Direction | None:
    """The direction by whose AUROC the layer of a method without one is chosen."""
    return fitting.direction("safety") if len(method.layers) > 1 else None


def _given_direction(config: Calibration) -> Direction | None:
    given = isinstance(config, Steer) and config.direction
    return read_direction(given) if given else None


def _starting(
    method: Method,
    config: Calibration,
    settings: Mapping[str, Any],
    direction: Direction | None,
) -> FittedMethod:
    """The layer and strength to begin with; see Model.calibrated."""
    layers = [layer for layer in method.layers if layer is not None]
    best, note = (layers[0] if len(layers) == 1 else None), ""
    if direction is not None and len(layers) > 1:
        if direction.chosen_layer in layers:
            best = direction.chosen_layer
        elif direction.auroc and set(layers) & set(direction.layers):
            best = best_layer(direction, layers)
            note = chance_note(direction, best)
    strengths = list(config.strengths)
    strength = method.axis.default_scale
    if len(strengths) == 1 or method.axis.integer:
        strength = strengths[0]
    return FittedMethod(method, strengths, best, strength, note)


def choose_setting(
    fitted: FittedMethod, layer: int | None, strength: float | None
) -> tuple[int | None, float]:
    """The layer and strength of a setting; None chooses those to begin with.

    Raises CalibError for a layer or strength that the method does not have, and (missing-setting)
    where nothing was measured to choose a layer by.
    """
    method = fitted.method
    layers = [number for number in method.layers if number is not None]
    if strength is not None:
        finite_number("strength", strength)
    value = fitted.strength if strength is None else float(strength)
    if method.axis.integer and value not in (0.0, *fitted.strengths):
        raise CalibError(
            "invalid-setting",
            f"strength: {value:g} is not one of {', '.join(map(str, fitted.strengths))}. "
            f"With {method.name}, strength means: {method.axis.meaning}. Add others with "
            "strengths=[...].",
        )
    if not method.axis.signed and value < 0:
        raise CalibError(
            "invalid-setting",
            f"strength: {value:g} is negative, which {method.name} does not take "
            f"({method.axis.meaning}).",
        )
    number = fitted.layer if layer is None else layer
    if layer is None and fitted.layer_note:
        warnings.warn(fitted.layer_note, stacklevel=3)
    whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
    if layer is not None and not (whole and number in layers):
        known = f"has the layers {layers}" if layers else "has no single layers: omit layer"
        raise CalibError("invalid-setting", f"layer: {layer!r:.80}, but {method.name} {known}.")
    if number is None and layers:
        raise CalibError(
            "missing-setting",
            f"{method.name} has the layers {layers}, and no held-out AUROC to choose one by. Give "
            f"layer={layers[len(layers) // 2]}, or hold out some pairs.",
        )
    return None if number is None else int(number), value


def _calibration(config: MethodConfig) -> Calibration:
    part = config.activation if isinstance(config, Combine) else config
    assert isinstance(part, Calibration) and not isinstance(config, NoneMethod)
    return part
