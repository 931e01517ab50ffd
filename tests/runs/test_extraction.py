"""Extraction: the fitted direction, with the effect of each layer at equal cost."""

import json
import math

import pytest
import torch
from backend_stand_in import StandIn

from calib.config.data import MiniData, UtilityConfig
from calib.config.engine import EngineChoice, VllmChoice
from calib.config.model import ModelConfig
from calib.config.sweep import ExtractConfig
from calib.data.mini.examples import load
from calib.directions.direction import read_direction, write_direction
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding
from calib.interventions.contrasts import twins
from calib.interventions.intervention import Intervention, Setting
from calib.judges.rules import RULES
from calib.runs import extraction as module
from calib.runs.extraction import extract
from calib.runs.generate import generate
from calib.runs.labels.judging import Judging, judge_rows
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.scoring.judged import is_safe_response


@pytest.fixture(scope="module")
def examples():
    return load(["image_centric", "text_centric"], 8)


@pytest.fixture(scope="module")
def utility():
    return load(["utility"], 3)


def config(**changes):
    given = {"layers": [1, 3], "max_new_tokens": 16, **changes}
    return ExtractConfig(ModelConfig("internvl"), MiniData(), UtilityConfig("mini"), **given)


def extracted(vlm, examples, utility, folder, **changes):
    with RowStore.open(folder / "rows.jsonl") as record:
        direction, notes = extract(config(**changes), vlm, examples, utility, folder, record)
        return direction, len(record.finished)


def test_an_extraction_through_vllm_has_the_direction_and_effects_of_the_own_engine(
    vlm, examples, utility, tmp_path
):
    made = []
    for name in ("transformers", "vllm"):
        backend = StandIn(vlm) if name == "vllm" else None
        engine = VllmChoice() if name == "vllm" else EngineChoice()
        with RowStore.open(tmp_path / name / "rows.jsonl") as record:
            settings = config(layers=[3], engine=engine)
            made.append(
                extract(settings, vlm, examples, utility, tmp_path / name, record, backend)[0]
            )
    backend.close()
    own, through_vllm = made
    torch.testing.assert_close(through_vllm.vectors, own.vectors, atol=1e-4, rtol=1e-4)
    assert through_vllm.effect == own.effect and through_vllm.effect_n == own.effect_n
    assert through_vllm.effect_strength == pytest.approx(own.effect_strength, rel=0.05)


def refused(vlm, setting, examples, folder):
    """Number of examples that are refused or warned of under a setting."""
    planner = Planner(Engine(vlm, Decoding(max_new_tokens=16)))
    with RowStore.open(folder / "again.jsonl") as record:
        rows = generate(planner, planner.rows(examples, [setting]), record)
        judged = judge_rows(rows, record, Judging(RULES, folder))
        return sum(is_safe_response(one.label) for one in judged)


def test_the_effect_is_measured_by_adding_at_the_last_prompt_token(
    vlm, examples, utility, tmp_path
):
    direction, answered = extracted(vlm, examples, utility, tmp_path)
    whole = read_direction(
        tmp_path / "directions" / "safety-mean_difference-last_prompt-residual.safetensors"
    )
    assert direction.layers == [1, 3] and whole.layers == list(range(vlm.num_layers))
    assert direction.vectors.equal(whole.vectors[[1, 3]])
    assert direction.effect_kl == 0.1 and answered
    tested = twins(examples, "validation")
    assert direction.effect_n == len(tested)
    budgets = json.loads((tmp_path / "strengths.json").read_text(encoding="utf-8"))
    (costed,) = (entries for name, entries in budgets.items() if name != "crc32")
    for k, layer in enumerate(direction.layers):
        up, down = (one["strength"] for one in costed if one["layer"] == layer)
        assert up == direction.effect_strength[k] > 0 > down
        counts = []
        for strength in (up, down):
            edit = Edit(layer, Add(whole.at(layer, strength)), "last_prompt")
            setting = Setting("any", layer, strength, Intervention((edit,)))
            counts.append(refused(vlm, setting, tested, tmp_path))
        assert direction.effect[k] == pytest.approx((counts[0] - counts[1]) / len(tested))
    assert max(map(abs, direction.effect)) > 0.2
    write_direction(tmp_path / "kept.safetensors", direction)
    assert read_direction(tmp_path / "kept.safetensors").effect == direction.effect


def test_a_layer_without_a_strength_within_the_budget_has_no_effect(
    vlm, examples, utility, tmp_path, monkeypatch
):
    """Other layers keep their effects."""

    def only_layer_3(*args):
        return [strength for strength in within(*args) if strength.layer == 3]

    within = module.strengths_within_budget
    full, _ = extracted(vlm, examples, utility, tmp_path)
    monkeypatch.setattr(module, "strengths_within_budget", only_layer_3)
    direction, _ = extracted(vlm, examples, utility, tmp_path)
    assert math.isnan(direction.effect[0]) and math.isnan(direction.effect_strength[0])
    assert direction.effect[1] == full.effect[1] and direction.effect_n == full.effect_n
    assert direction.effect_strength[1] == full.effect_strength[1]
    monkeypatch.setattr(module, "strengths_within_budget", lambda *args: [])
    direction, _ = extracted(vlm, examples, utility, tmp_path)
    assert (direction.effect, direction.effect_strength, direction.effect_n) == ([], [], 0)


@pytest.mark.parametrize("left_out", ["budget", "questions", "validation pairs"])
def test_without_budget_questions_or_pairs_there_is_no_effect(
    vlm, examples, utility, tmp_path, left_out
):
    if left_out == "validation pairs":
        examples = [e for e in examples if e.split != "validation"]
    questions = [] if left_out == "questions" else utility
    kl = None if left_out == "budget" else 0.1
    direction, answered = extracted(vlm, examples, questions, tmp_path, kl=kl)
    assert (direction.effect, direction.effect_kl, answered) == ([], None, 0)
    assert bool(direction.auroc) == (left_out != "validation pairs")
    assert direction.layers == [1, 3]
