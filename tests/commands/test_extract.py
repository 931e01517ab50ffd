"""calib.extract: a direction for every layer, and what its table says of it."""

import re

import pytest
from composing import composed

from calib import extract
from calib.directions.direction import read_direction
from calib.report.figures import io as drawing

TINY = ("data.limit=16", "data.parts=[image_centric]", "utility.limit=6", "max_new_tokens=12")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take a second each, and tests elsewhere look at them."""
    monkeypatch.setattr(drawing, "save", lambda figure, stem: [stem.with_suffix(".png")])


def run(out, capsys, *overrides):
    """The direction, the head of the table, and its lines' cells."""
    extract.main(composed("extract", *TINY, *overrides, f"out={out}"))
    said = capsys.readouterr().out
    head = next(line for line in said.splitlines() if line.lstrip().startswith("layer "))
    rows = re.findall(r"^ +(\d) {3}(\S+) +\((\S+) to (\S+)\)(.*)$", said, re.MULTILINE)
    lines = {int(k): [auroc, low, high, *rest.split()] for k, auroc, low, high, rest in rows}
    return read_direction(out / "direction.safetensors"), " ".join(head.split()), lines, said


def test_every_layer_with_its_separability_and_its_effect(tmp_path, capsys):
    found, head, lines, said = run(tmp_path, capsys)
    assert found.layers == [0, 1, 2, 3, 4, 5] == list(lines)
    assert len(found.auroc) == 6
    n = found.auroc_pairs
    assert n > 5
    columns = f"layer held-out AUROC (95% CI, n={n} a side) pair cos gap gap/norm strength effect"
    assert head == columns
    assert len(found.effect) == len(found.effect_strength) == 6
    assert found.effect_kl == 0.1
    for row, cells in enumerate(lines.values()):
        gap, norm = float(found.gap[row]), float(found.norm[row])
        low, high = found.auroc_intervals[row]
        assert cells == [
            f"{found.auroc[row]:.3f}", f"{low:.3f}", f"{high:.3f}",
            f"{found.pair_cosine[row]:.3f}", f"{gap:.4g}", f"{gap / norm:.3f}",
            f"{found.effect_strength[row]:+.3g}", f"{100 * found.effect[row]:+.1f}",
        ]  # fmt: skip
    assert found.effect_n == 16
    assert "each within 0.1 nats of KL at the first token (n = 16)" in " ".join(said.split())
    # There is something to see: at some layer it moves refusals by much.
    assert max(found.effect) > 0.2
    for name in ("layers", "projections"):
        assert f"{tmp_path / name}.png" in said
        assert all((tmp_path / f"{name}.{ending}").exists() for ending in ("png", "pdf", "svg"))
    low, high = found.effect_low, found.effect_high
    assert all(a <= b <= c for a, b, c in zip(low, found.effect, high, strict=True))
    assert min(c - a for a, c in zip(low, high, strict=True)) < 1 and max(high) > min(low)
    assert str(tmp_path / "direction.safetensors") in said


def test_again_it_does_nothing_new(tmp_path, capsys):
    arguments = ("layers=[2,3]", "kl=0.1")
    first = run(tmp_path, capsys, *arguments)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*.[jcs]*") if p.is_file()}
    assert len(files) >= 4  # run.json, rows.jsonl, strengths.json, two directions
    again = run(tmp_path, capsys, *arguments)
    assert again[3] == first[3]
    assert {p: p.read_bytes() for p in files} == files


@pytest.mark.parametrize("overrides", [("kl=null",), ("utility=none",)])
def test_without_a_budget_there_is_no_effect(tmp_path, capsys, undrawn, overrides):
    found, head, lines, said = run(tmp_path, capsys, "layers=[2,4]", *overrides)
    assert found.layers == [2, 4] == list(lines)
    assert found.effect == found.effect_strength == []
    assert found.effect_kl is None
    assert head.endswith("pair cos gap gap/norm")
    assert "Effect" not in said
    assert all(len(cells) == 6 for cells in lines.values())
    assert not (tmp_path / "strengths.json").exists()


def test_what_is_not_drawn_is_said(tmp_path, capsys, undrawn):
    """A direction that an older calib kept without its projections is used as it is."""
    first = run(tmp_path, capsys, "layers=[2]", "kl=null")
    (kept,) = (tmp_path / "directions").glob("*.projections.csv")
    kept.unlink()
    again = run(tmp_path, capsys, "layers=[2]", "kl=null")
    assert again[0].vectors.equal(first[0].vectors) and not kept.exists()
    assert "note: " not in first[3] and "projections.png" in first[3]
    assert "note: Where examples lie along the directions" in again[3]
    assert "layers.png" in again[3] and "projections.png" not in again[3]


def test_of_attention_heads(tmp_path, capsys, undrawn, vlm):
    found, _, _, said = run(tmp_path, capsys, "site=heads", "layers=3", "contrast=refusal")
    assert (found.site, found.contrast, found.layers) == ("heads", "refusal", [3])
    assert found.width == vlm.model.model.language_model.layers[3].self_attn.o_proj.in_features
    assert len(found.effect) == 1
    assert "refused against answered, heads read at last_prompt" in " ".join(said.split())


def test_a_larger_budget_buys_a_larger_strength(tmp_path, capsys, undrawn):
    few = run(tmp_path / "few", capsys, "layers=3", "kl=0.01")[0]
    many = run(tmp_path / "many", capsys, "layers=3", "kl=1.0")[0]
    assert 0 < few.effect_strength[0] < many.effect_strength[0]
    assert (few.effect_kl, many.effect_kl) == (0.01, 1.0)
