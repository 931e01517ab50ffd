"""calib.extract: a direction for every layer, and the table of its measurements."""

import importlib
import re

import pytest
from composing import composed

from calib.directions.direction import read_direction
from calib.report.figures import io

TINY = ("data.limit=16", "data.parts=[image_centric]", "utility.limit=6", "max_new_tokens=12")


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no figures, which take a second each and have their own tests."""
    monkeypatch.setattr(io, "save", lambda figure, stem: [stem.with_suffix(".png")])


def run(out, capsys, *overrides):
    """The direction, the header of the table, the cells of its lines, and the printed text."""
    command = importlib.import_module("calib.extract")
    command.main(composed("extract", *TINY, *overrides, f"out={out}"))
    printed = capsys.readouterr().out
    head = next(line for line in printed.splitlines() if line.lstrip().startswith("layer "))
    rows = re.findall(r"^ +(\d) {3}(\S+) +\((\S+) to (\S+)\)(.*)$", printed, re.MULTILINE)
    lines = {int(k): [auroc, low, high, *rest.split()] for k, auroc, low, high, rest in rows}
    return read_direction(out / "direction.safetensors"), " ".join(head.split()), lines, printed


def test_every_layer_has_its_separation_and_its_effect(tmp_path, capsys):
    direction, head, lines, printed = run(tmp_path, capsys)
    assert direction.layers == [0, 1, 2, 3, 4, 5] == list(lines)
    assert len(direction.auroc) == 6
    n = direction.auroc_pairs
    assert n > 5
    columns = f"layer held-out AUROC (95% CI, n={n} a side) pair cos gap gap/norm strength effect"
    assert head == columns
    assert len(direction.effect) == len(direction.effect_strength) == 6
    assert direction.effect_kl == 0.1
    for row, cells in enumerate(lines.values()):
        gap, norm = float(direction.gap[row]), float(direction.norm[row])
        low, high = direction.auroc_intervals[row]
        assert cells == [
            f"{direction.auroc[row]:.3f}", f"{low:.3f}", f"{high:.3f}",
            f"{direction.pair_cosine[row]:.3f}", f"{gap:.4g}", f"{gap / norm:.3f}",
            f"{direction.effect_strength[row]:+.3g}", f"{100 * direction.effect[row]:+.1f}",
        ]  # fmt: skip
    assert direction.effect_n == 16
    assert "0.1 nats" in printed and "n = 16" in printed
    # At some layer the direction changes refusals strongly.
    assert max(direction.effect) > 0.2
    for name in ("layers", "projections"):
        assert f"{tmp_path / name}.png" in printed
        assert all((tmp_path / f"{name}.{ending}").exists() for ending in ("png", "pdf", "svg"))
    low, high = direction.effect_low, direction.effect_high
    assert all(a <= b <= c for a, b, c in zip(low, direction.effect, high, strict=True))
    assert min(c - a for a, c in zip(low, high, strict=True)) < 1 and max(high) > min(low)
    assert str(tmp_path / "direction.safetensors") in printed


def test_the_same_command_again_changes_no_file(tmp_path, capsys):
    arguments = ("layers=[2,3]", "kl=0.1")
    first = run(tmp_path, capsys, *arguments)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*.[jcs]*") if p.is_file()}
    assert len(files) >= 4  # run.json, rows.jsonl, strengths.json, two directions
    again = run(tmp_path, capsys, *arguments)
    assert again[3] == first[3]
    assert {p: p.read_bytes() for p in files} == files


@pytest.mark.parametrize("overrides", [("kl=null",), ("utility=none",)])
def test_without_a_kl_budget_there_is_no_effect(tmp_path, capsys, undrawn, overrides):
    direction, head, lines, printed = run(tmp_path, capsys, "layers=[2,4]", *overrides)
    assert direction.layers == [2, 4] == list(lines)
    assert direction.effect == direction.effect_strength == []
    assert direction.effect_kl is None
    assert head.endswith("pair cos gap gap/norm")
    assert "Effect" not in printed
    assert all(len(cells) == 6 for cells in lines.values())
    assert not (tmp_path / "strengths.json").exists()


def test_figures_without_data_are_noted(tmp_path, capsys, undrawn):
    """A direction of an older calib has no projections; it is used all the same."""
    first = run(tmp_path, capsys, "layers=[2]", "kl=null")
    (projections,) = (tmp_path / "directions").glob("*.projections.csv")
    projections.unlink()
    again = run(tmp_path, capsys, "layers=[2]", "kl=null")
    assert again[0].vectors.equal(first[0].vectors) and not projections.exists()
    assert "projections.png" in first[3]
    assert again[3].count("note: ") == first[3].count("note: ") + 1
    assert "layers.png" in again[3] and "projections.png" not in again[3]


def test_a_direction_of_attention_heads(tmp_path, capsys, undrawn, vlm):
    direction, _, _, printed = run(tmp_path, capsys, "site=heads", "layers=3", "contrast=refusal")
    assert (direction.site, direction.contrast, direction.layers) == ("heads", "refusal", [3])
    assert direction.width == vlm.model.model.language_model.layers[3].self_attn.o_proj.in_features
    assert len(direction.effect) == 1
    assert "heads" in printed and "last_prompt" in printed


def test_a_larger_budget_allows_a_larger_strength(tmp_path, capsys, undrawn):
    small = run(tmp_path / "small", capsys, "layers=3", "kl=0.01")[0]
    large = run(tmp_path / "large", capsys, "layers=3", "kl=1.0")[0]
    assert 0 < small.effect_strength[0] < large.effect_strength[0]
    assert (small.effect_kl, large.effect_kl) == (0.01, 1.0)
