"""Directions without a sweep: fitted, measured on held-out pairs, and tried at equal cost."""

import dataclasses
from collections.abc import Sequence
from math import nan
from pathlib import Path

from calib.config.judge import JudgeConfig
from calib.config.method import Steer
from calib.config.sweep import ExtractConfig
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.fitting import Fitting
from calib.interventions.steering import steering_method
from calib.judges.registry import choose_judge
from calib.models.load import VLM
from calib.runs.generate import BaselineAnswers
from calib.runs.judging import Judging
from calib.runs.kl_budget import within_budget
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.runs.selection import effects


def extract(
    config: ExtractConfig,
    vlm: VLM,
    examples: Sequence[Example],
    utility: Sequence[Example],
    folder: Path,
    record: RowStore,
) -> tuple[Direction, list[str]]:
    """The direction of the chosen layers with, under a budget of KL, each layer's effect when it is
    added at the last prompt token; and what to know about how it was computed.

    Raises CalibError when there are no train pairs, or the estimator cannot use them.
    """
    engine = Engine(vlm, Decoding(config.max_new_tokens, config.batch_rows))
    judge = choose_judge(JudgeConfig("auto"), config.data.name, vlm.checkpoint)
    judging = Judging(judge, folder)
    asking = BaselineAnswers(Planner(engine), record, judging)
    fitting = Fitting(vlm, examples, utility, asking, folder)
    whole = fitting.direction(
        config.contrast,
        config.estimator,
        config.read_positions,
        config.site,
    )
    direction = whole.of_layers(fitting.layers(config.layers))
    questions = [e for e in utility if (e.dataset, e.split) == ("utility", "validation")]
    validated = fitting.twins("validation")
    if config.kl is not None and questions and validated:
        along = Steer(
            contrast=config.contrast,
            estimator=config.estimator,
            read_positions=config.read_positions,
            site=config.site,
            layers=config.layers,
        )
        method = steering_method(fitting, along)
        priced = within_budget(engine, method, questions, config.kl, folder)
        found = {
            one.layer: one
            for one in effects(asking.planner, record, judging, method, priced, validated)
        }
        if found:
            measured = [found.get(layer) for layer in direction.layers]
            direction = dataclasses.replace(
                direction,
                effect=[one.rise.value if one else nan for one in measured],
                effect_low=[one.rise.low if one else nan for one in measured],
                effect_high=[one.rise.high if one else nan for one in measured],
                effect_strength=[one.strength if one else nan for one in measured],
                effect_kl=config.kl,
                effect_n=next(iter(found.values())).rise.n,
            )
    return direction, engine.notes
