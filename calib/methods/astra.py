"""Adaptive removal of a direction (ASTRA, arXiv 2411.16721, section 3.3).

    c = clip(cos(h_l - h_ref, v_l), 0, 1)
    h_l  <-  h_l - strength x c x |h_l| x v_l        at the last position of every step

v_l is the unit direction to remove and h_ref the mean activation of answers about harmless
pictures, both [width], so that c is near 0 for harmless requests. Strength is the authors' alpha, a
share of the activation's norm.

Authors: v is the mean difference between an adversarial picture and the same picture with its
attributed patches masked, at the last prompt token. h_ref is the mean over the response tokens of
answers about benign pictures ("What is the image about?"). One layer in the middle of the model
(20 of 40, 14 of 28); alpha 5, 7 or 10, chosen for each model and attack.

Here: v is the negative side of a contrast; by default, what makes the model answer unsafe queries
(answered minus refused). h_ref is read from the model's own answers about the pictures of safe
train examples (method.question), or to their queries where they have no pictures.

Supervised: yes (v: the refusals of unsafe train queries; h_ref: which examples are safe).

Searched: the layer, and the strength, which is positive.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from calib.config.method import Astra
from calib.data.example import Example
from calib.engine.operators import AblateByCosine
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.prompting import prompt_text
from calib.models.load import VLM
from calib.util.errors import CalibError

AXIS = Axis("as a share of the activation's norm", signed=False, default_scale=5.0)


def check(config: Astra, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (missing-setting) if there is no question about pictures for this model."""
    prompt_text(config, vlm, "question")


def method(fitting: Fitting, config: Astra) -> Method:
    """One direction to remove per layer."""
    direction = fitting.direction(config.contrast, config.estimator, config.read_positions)
    grid = fitting.layer_grid(config, fitting.layers_of(direction, config.layers))
    references = reference_activations(fitting, config, grid.band)
    reference = dict(zip(grid.band, references, strict=True))

    def intervention(layer: int | None, strength: float) -> Intervention:
        def removal(number: int) -> AblateByCosine:
            vector = -direction.vectors[direction.row(number)]
            return AblateByCosine(vector, strength, reference[number])

        return Intervention(edits_at(grid.edited(layer), removal, config.positions))

    return Method(config.name, AXIS, grid.layers, intervention, direction)


def reference_activations(fitting: Fitting, config: Astra, layers: Sequence[int]) -> torch.Tensor:
    """Mean activation of answers about the pictures of safe train examples. # [layers, width]

    Each answer counts the same, whatever its length. Raises CalibError (too-few) if all answers are
    empty.
    """
    safe = [example for example in fitting.twins("train") if example.safety == "safe"]
    question = prompt_text(config, fitting.vlm, "question")
    asked = [replace(example, query=question) for example in safe if example.picture] or safe
    answers = fitting.baseline_answers(asked, "reference", False)
    answered = [
        replace(example, response_prefix=answer.text)
        for example, answer in zip(asked, answers, strict=True)
        if answer.text
    ]
    if not answered:
        raise CalibError(
            "too-few",
            f"method={config.name}: all {len(asked)} answers to {question!r} are empty, so there "
            "is no reference activation. Give another method.question.",
        )
    return fitting.activations(answered, layers, "response").mean(0)
