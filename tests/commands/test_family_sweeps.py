"""Every family runs sweeps from a checkpoint on disk, and docs/models.md has its features."""

import json

import pytest
from composing import composed
from raising import raises
from tiny_families import FAMILIES, examples
from what_works import (
    COLUMNS,
    PAGE,
    RECORD,
    cells,
    measured,
    model_of,
    model_options,
    page,
    saved,
    swept,
)

from calib.config.model import MINI, PACKAGED, ModelConfig
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.models.checkpoints.build_commands import BUILDS
from calib.models.load import load
from calib.scoring.results import read_results

pytestmark = pytest.mark.usefixtures("undrawn")
record = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", FAMILIES)
def test_supported_features_equal_the_record(family, tmp_path):
    assert measured(family, tmp_path) == record[family]


def test_the_tables_of_the_page_equal_the_record():
    assert page(PAGE.read_text(encoding="utf-8"), record) == PAGE.read_text(encoding="utf-8")
    assert set(record) == set(FAMILIES)
    assert all(row.keys() == COLUMNS.keys() for row in record.values())


def test_a_sweep_has_every_row(tmp_path):
    """Six methods, two of them prompt-only; two strengths per edit; the same examples for all."""
    out = tmp_path / "run"
    swept("qwen3_vl", saved("qwen3_vl", tmp_path / "model"), out)
    rows = cells(out)
    assert {name for name, _ in rows} == {
        "none", "steer", "heads", "mlp", "picture_tokens", "reminder", "cot",
    }  # fmt: skip
    assert {strength for name, strength in rows if name == "heads"} == {0.0, 8.0}
    assert len({frozenset(examples) for examples in rows.values()}) == 1
    (run,) = read_results(out / "results.csv")
    assert {result.n for result in run.results if result.metric == "KL"} != {0}


def test_an_unsupported_prompt_is_named(tmp_path):
    checkpoint = saved("paligemma", tmp_path / "model")
    vlm = load(composed("sweep", *model_of("paligemma", checkpoint)).model)
    plain = next(example for example in examples() if example.picture is None)
    with raises("unsupported", checkpoint, f"'{plain.id}'"):
        generate(vlm, [Request(plain)], Decoding(max_new_tokens=1))


def test_options_with_weights_name_a_checkpoint():
    for path, config in model_options().items():
        if isinstance(config, ModelConfig) and (config.checkpoint or MINI) not in PACKAGED:
            # Those that are built are so small that float32 is faster on a CPU.
            dtype = "float32" if path.stem in BUILDS else "bfloat16"
            assert config.checkpoint and config.dtype == dtype, path.stem
