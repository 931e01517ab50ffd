"""Every family runs whole sweeps from a checkpoint on disk, and docs/models.md says what works."""

import json

import pytest
from composing import composed
from tiny_families import FAMILIES, examples
from what_works import COLUMNS, PAGE, RECORD, cells, measured, model_of, page, saved, swept

from calib.config.model import ModelConfig
from calib.config.schemas import CONF
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.load import load
from calib.scoring.results import read_results
from calib.util.errors import CalibError

pytestmark = pytest.mark.usefixtures("undrawn")
record = json.loads(RECORD.read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_works_is_what_the_record_says(family, tmp_path):
    assert measured(family, tmp_path) == record[family]


def test_the_tables_of_the_page_are_made_from_the_record():
    assert page(PAGE.read_text(), record) == PAGE.read_text()
    assert set(record) == set(FAMILIES)
    assert all(row.keys() == COLUMNS.keys() for row in record.values())


def test_every_row_of_a_sweep_is_there(tmp_path):
    """Six methods, two of them prompts; two strengths of each edit; one set of examples."""
    out = tmp_path / "run"
    swept("qwen3_vl", saved("qwen3_vl", tmp_path / "model"), out)
    found = cells(out)
    assert {name for name, _ in found} == {
        "none", "steer", "heads", "mlp", "picture_tokens", "reminder", "cot",
    }  # fmt: skip
    assert {strength for name, strength in found if name == "heads"} == {0.0, 8.0}
    assert len({frozenset(rows) for rows in found.values()}) == 1
    (run,) = read_results(out / "results.csv")
    assert {result.n for result in run.results if result.metric == "KL"} != {0}


def test_a_prompt_that_a_family_does_not_take_is_named(tmp_path):
    checkpoint = saved("paligemma", tmp_path / "model")
    vlm = load(composed("sweep", *model_of("paligemma", checkpoint)).model)
    plain = next(example for example in examples() if example.picture is None)
    words = rf"processor of {checkpoint} cannot prepare example '{plain.id}'"
    with pytest.raises(CalibError, match=words):
        generate(vlm, [Request(plain)], Decoding(max_new_tokens=1))


def test_options_with_weights_name_a_checkpoint_that_is_not_the_mini_one():
    for path in (CONF / "model").glob("*.yaml"):
        config = composed("sweep", f"model={path.stem}").model
        if isinstance(config, ModelConfig) and path.stem != "internvl":
            assert config.checkpoint and config.dtype == "bfloat16", path.stem
