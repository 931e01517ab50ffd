"""The card of a direction: command, table, and hostile fields of the header."""

import dataclasses
from pathlib import Path

import pytest
import torch

from calib.directions.direction import Direction
from calib.interchange.importing import IMPORTED
from calib.report.card import card_path, command_line, direction_card, no_strength_note
from calib.scoring.results import BASELINE, Result

DIRECTION = Direction(
    vectors=torch.tensor([[1.0, 0.0]]),
    gap=torch.tensor([2.0]),
    midpoint=torch.tensor([0.5]),
    norm=torch.tensor([4.0]),
    layers=[3],
    checkpoint="some/model",
    revision=None,
    fingerprint="abc",
    strength=1.5,
    chosen_layer=3,
    positions="last_prompt",
)


def test_card_has_the_command() -> None:
    card = direction_card(DIRECTION, [], "direction.safetensors")
    assert (
        "    python -m calib.sweep model=hf model.checkpoint=some/model method=steer "
        "method.direction=direction.safetensors method.layers=[3] "
        "method.strengths=[1.5] method.positions=last_prompt\n"
    ) in card
    assert "| site | residual: the output of block 3 (0-based) |" in card
    assert (
        "| unit of strength | gap: 1.0 adds 2 along a unit vector (0.500 of the mean norm) |"
        in card
    )
    several = dataclasses.replace(DIRECTION, layers=[1, 2], chosen_layer=None)
    assert "method.layers=[1,2] " in direction_card(several, [], "a b.safetensors")
    assert "'method.direction=a b.safetensors'" in direction_card(several, [], "a b.safetensors")


def test_the_command_names_the_model_of_the_direction() -> None:
    def command(**changes: object) -> str:
        return command_line(dataclasses.replace(DIRECTION, **changes), "d.safetensors")

    assert "model" not in command(checkpoint="mini-internvl")
    assert "model.revision=v1 model.dtype=float32 " in command(
        revision="v1", origin={"dtype": "float32"}
    )
    assert "dtype" not in command(origin={"dtype": "bfloat16"}) + command(origin={"dtype": "$(x)"})


def test_a_strength_of_zero_is_not_suggested() -> None:
    kept = dataclasses.replace(DIRECTION, strength=0.0)
    command = command_line(kept, "d.safetensors")
    assert "method.layers=[3]" in command and "strengths" not in command
    assert "method.strengths" in no_strength_note(kept) != ""
    assert no_strength_note(kept) in direction_card(kept, [], "d.safetensors")
    assert no_strength_note(kept, "") in direction_card(kept, [], "d.gguf", use="llama-cli")
    assert no_strength_note(DIRECTION) == ""


def test_strength_of_an_imported_direction_is_in_stored_vectors() -> None:
    imported = dataclasses.replace(DIRECTION, estimator=IMPORTED)
    card = direction_card(imported, [], "d.safetensors")
    assert "| unit of strength | times the stored vector, whose length is 2 |" in card
    removed = dataclasses.replace(imported, operator="ablate")
    assert "stored vector" not in direction_card(removed, [], "d.safetensors")


def test_files_in_several_formats_keep_their_cards(tmp_path: Path) -> None:
    names = ("caa.safetensors", "caa.gguf", "caa.pt", "caa")
    assert len({card_path(tmp_path / name) for name in names} | {tmp_path / "caa.md"}) == 4
    assert card_path(tmp_path / "caa") == tmp_path / "caa.md"
    (tmp_path / "caa").mkdir()
    assert card_path(tmp_path / "caa") == tmp_path / "caa" / "README.md"


def test_card_has_the_verdict_of_its_run_if_that_is_not_yes() -> None:
    lowered = dataclasses.replace(DIRECTION, verdict="No: [less](x) safe.")
    card = direction_card(lowered, [], "direction.safetensors")
    assert r"No: \[less\]\(x\) safe." in card and card.index("safe.") < card.index("| model")
    assert "Verdict" not in direction_card(DIRECTION, [], "direction.safetensors")


def test_other_sites_and_operators_are_named() -> None:
    other = dataclasses.replace(DIRECTION, site="heads", operator="ablate")
    card = direction_card(other, [], "f.safetensors")
    assert "| site | heads: the attention heads of block 3 (0-based) |" in card
    assert "method.positions=last_prompt method.operator=ablate\n" in card
    # Ablation has no gap: strength 1 removes the whole component.
    assert "| unit of strength | share of the component that is removed |" in card


def test_table_has_the_exported_layer_and_the_uncalibrated_model() -> None:
    results = [
        Result(method, layer, strength, "test", dataset, "all", "all", metric, value, 0, 1, 9,
               clusters=4 if metric == "SRA" else 9, mapping="calib" * (metric != "KL"))
        for method, layer, strength, value in (
            (BASELINE, None, 0.0, 0.25), ("steer", 3, -1.0, 0.5), ("steer", 2, 9.0, 0.75),
        )
        for dataset, metric in (("all", "SRA"), ("utility", "KL"), ("image_centric", "SRA_u"))
    ]  # fmt: skip
    table = direction_card(DIRECTION, results, "f.safetensors").partition("## Measured")[2]
    assert table.splitlines()[0].endswith(", mapping=calib")
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    shown = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    cell = "{:.3f} (0.000 to 1.000)".format
    assert shown == [
        ["-1", "", "", cell(0.5), "", "", "", cell(0.5), "9 (4)", "9"],
        ["uncalibrated", "", "", cell(0.25), "", "", "", cell(0.25), "9 (4)", "9"],
    ]


HOSTILE = "x](http://evil) ![p](q) *b* _i_ `c` # h | <img>\n# title\x1b[31m"


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "revision", "fingerprint", "site", "operator", "estimator", "contrast",
     "read_positions", "positions", "unit", "pair_set"],
)  # fmt: skip
def test_hostile_fields_stay_in_their_cells(name) -> None:
    # Of a checkpoint with slashes, the card has the last part.
    text = HOSTILE.replace("//", "") if name == "checkpoint" else HOSTILE
    card = direction_card(dataclasses.replace(DIRECTION, **{name: text}), [], "f.safetensors")
    plain = direction_card(DIRECTION, [], "f.safetensors")
    assert card.count("\n") == plain.count("\n")
    assert "\x1b" not in card
    rendered = "".join(line for line in card.splitlines() if not line.startswith("    "))
    rendered = rendered.replace("http:evil", "http://evil")
    assert r"x\]\(http://evil\) \!\[p\]\(q\) \*b\* \_i\_ \`c\` \# h \| &lt;img>" in rendered
    assert "](" not in rendered and "<img" not in rendered


def test_an_auroc_that_is_not_above_chance_is_marked() -> None:
    def cell(low: float) -> str:
        measured = {"auroc": [0.8], "auroc_pairs": 9, "auroc_low": [low], "auroc_high": [0.9]}
        card = direction_card(dataclasses.replace(DIRECTION, **measured), [], "d.safetensors")
        return next(line for line in card.split("\n") if "held-out AUROC" in line)

    assert "not above chance" in cell(0.5) and "not above chance" not in cell(0.51)
