"""The steps of an extraction: fit a direction, and measure the effect of each layer."""

import dataclasses
from collections.abc import Sequence
from math import nan
from pathlib import Path

from calib.config.judge import JudgeConfig
from calib.config.method import Steer
from calib.config.sweep import ExtractConfig
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.directions.separation import best_layer, chance_note
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.engine.vllm.request import Backend
from calib.interventions.fitting import Fitting
from calib.interventions.steering import steering_method
from calib.judges.registry import choose_judge
from calib.models.load import VLM
from calib.runs.checks.responses import length_notes
from calib.runs.engines import AnyEngine, engine_of, reader_of
from calib.runs.generate import BaselineAnswers
from calib.runs.kl_budget import (
    layer_effects,
    strengths_within_budget,
)
from calib.runs.labels.judging import Judging
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore


def extract(
    config: ExtractConfig,
    vlm: VLM,
    examples: Sequence[Example],
    utility: Sequence[Example],
    folder: Path,
    store: RowStore,
    backend: Backend | None = None,
) -> tuple[Direction, list[str]]:
    """The direction at the configured layers, and notes on how it was computed.

    ``backend`` is vLLM, where it is the engine. With a budget of KL the direction includes the
    effect of each layer when it is added at the last prompt token. Raises CalibError when there are
    no train pairs, or the estimator cannot use them.
    """
    assert config.max_new_tokens is not None, "ExtractConfig sets it"
    decoding = Decoding(config.max_new_tokens, config.batch_rows)
    engine = engine_of(config.engine, vlm, decoding, backend, config.data.skip_long)
    assert not isinstance(engine, RemoteEngine), "an extraction needs weights"
    judge = choose_judge(JudgeConfig("auto"), config.data.name, vlm.checkpoint)
    judging = Judging(judge, folder)
    baseline_answers = BaselineAnswers(Planner(engine), store, judging)
    fitting = Fitting(vlm, examples, utility, baseline_answers, folder, reader_of(engine))
    all_layers = fitting.direction(
        config.contrast, config.estimator, config.read_positions, config.site
    )
    direction = all_layers.select_layers(fitting.layers_of(all_layers, config.layers))
    questions = [e for e in utility if (e.dataset, e.split) == ("utility", "validation")]
    validated = fitting.twins("validation")
    if config.kl is None or not questions or not validated:
        notes = _extraction_notes(engine, fitting, store, direction)
        if config.kl is not None and not utility:
            notes.append(
                f"the effect of each layer at kl={config.kl:g} is not measured: utility="
                f"{config.utility.name} has no questions for it. Give utility=mmstar, or another "
                "set of docs/utility.md"
            )
        return direction, notes
    steer = Steer(
        contrast=config.contrast,
        estimator=config.estimator,
        read_positions=config.read_positions,
        site=config.site,
        layers=config.layers,
        positions="last_prompt",
    )
    method = steering_method(fitting, steer)
    costed = strengths_within_budget(engine, method, questions, config.kl, folder)
    effects = {
        effect.layer: effect
        for effect in layer_effects(
            baseline_answers.planner, store, judging, method, costed, validated
        )
    }
    if effects:
        by_layer = [effects.get(layer) for layer in direction.layers]
        direction = dataclasses.replace(
            direction,
            effect=[effect.rise.value if effect else nan for effect in by_layer],
            effect_low=[effect.rise.low if effect else nan for effect in by_layer],
            effect_high=[effect.rise.high if effect else nan for effect in by_layer],
            effect_strength=[effect.strength if effect else nan for effect in by_layer],
            effect_kl=config.kl,
            effect_n=next(iter(effects.values())).rise.n,
        )
    return direction, _extraction_notes(engine, fitting, store, direction)


def _extraction_notes(
    engine: AnyEngine, fitting: Fitting, store: RowStore, direction: Direction
) -> list[str]:
    cut = length_notes(store.finished, store, "max_new_tokens", engine.decoding.max_new_tokens)
    chance = chance_note(direction, best_layer(direction), chosen=False) if direction.auroc else ""
    best = [f"at its best layer, {chance}"] if chance else []
    return [*engine.notes, *fitting.part_notes.values(), *best, *cut]
