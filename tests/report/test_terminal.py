"""The end of a run in the terminal: its tables, its figure and its summary."""

from dataclasses import replace

import pytest

from calib.config.choose import ChooseConfig
from calib.report import terminal
from calib.report.figures.io import NotDrawn
from calib.report.method_table import write_method_table
from calib.report.terminal import show_run
from calib.runs.operating_points import operating_point_records, select_operating_points
from calib.runs.run import Run
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score

RULE = ChooseConfig()


@pytest.fixture
def drawn(monkeypatch):
    """Names of the figures that were drawn, with the folder of the run; nothing is rendered."""
    figures = []

    def draw(name):
        return lambda runs, columns: figures.append((name, runs[0].folder.name)) or "figure"

    monkeypatch.setattr(terminal.trade_off, "draw", draw("trade_off"))
    monkeypatch.setattr(terminal.methods, "draw", draw("methods"))
    monkeypatch.setattr(terminal, "save", lambda figure, stem: [stem.with_suffix(".png")])
    return figures


def run(folder, methods, dataset="text_centric", better=True, data="pairs", mapping="calib",
        reference=None):  # fmt: skip
    row = Judged(
        BASELINE, None, 0.0, "", None, dataset, "original", "c", "", "unsafe", None, None, None
    )
    judged = [
        replace(
            row, example_id=f"{safety}/{split}/{k}", pair=str(k), split=split, safety=safety,
            variant=f"v{k % 2}",
            method=method, strength=float(method != BASELINE),
            label="refusal" if safety == "unsafe" and (method != BASELINE) == better else "answer",
        )
        for method in (BASELINE, *methods)
        for split in ("validation", "test")
        for safety in ("unsafe", "safe")
        for k in range(4)
    ]  # fmt: skip
    results = score(judged, mapping)
    on_validation = [row for row in judged if row.split == "validation"]
    names = methods or [BASELINE]
    chosen = select_operating_points(on_validation, results, names, RULE, mapping)
    axes = dict.fromkeys(methods, "in units")
    return Run(
        folder, settings={"data": {"name": data}, "mapping": mapping}, checkpoint="some/model",
        results=results, directions={}, projections={}, judged=judged, judge="llm", examples={},
        operating_points=operating_point_records("some/model", chosen, RULE, axes, [], reference),
    )  # fmt: skip


def test_one_method_has_the_figure_trade_off_and_a_summary(tmp_path, drawn) -> None:
    text = show_run(run(tmp_path / "run", ["reminder"]), {"results": tmp_path / "results.csv"})
    assert drawn == [("trade_off", "run")]
    assert "reminder (strength 1), chosen on validation" in text and "Strength    in units" in text
    assert "figure   " in text and "trade_off.png" in text and "results  " in text
    places = [text.find(part) for part in ("Model  ", "few changed", "variant v1", "trade_off.png")]
    assert -1 not in places and places == sorted(places)
    blocks = [line for line in text.splitlines() if line.endswith("SRA* n (clusters)")]
    assert [line.split("  ")[0] for line in blocks] == [
        "The uncalibrated model",
        "reminder (strength 1)",
    ]


def test_several_methods_are_compared(tmp_path, drawn) -> None:
    compared = run(tmp_path, ["reminder", "caution"])
    text = show_run(compared, write_method_table(compared))
    assert drawn[0][0] == "methods"
    table = (tmp_path / "methods.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 3 and "methods.csv" in text
    assert "p (Holm)" in text and text.count("variant v1") == 3


def test_reference_does_not_count_as_a_method(tmp_path, drawn) -> None:
    referred = run(tmp_path, ["surgical", "caution"], reference="caution")
    assert write_method_table(referred) == {}
    text = show_run(referred, {})
    assert drawn[0][0] == "trade_off" and "surgical (strength 1), chosen on validation" in text


def test_missing_figure_is_explained_and_the_rest_is_shown(tmp_path, drawn, monkeypatch) -> None:
    def fail(runs, columns):
        raise NotDrawn("missing-value", "it has no SRA")

    monkeypatch.setattr(terminal.trade_off, "draw", fail)
    text = show_run(run(tmp_path, ["reminder"]), {})
    assert "No figure: it has no SRA" in text and "figure  " not in text
    assert "reminder (strength 1), chosen on validation" in text


def test_figure_shows_the_run_in_memory(tmp_path, monkeypatch) -> None:
    saved = []
    monkeypatch.setattr(terminal, "save", lambda figure, stem: saved.append(figure) or [stem])
    text = show_run(run(tmp_path, ["reminder"]), {"results": tmp_path / "results.csv"})
    assert ["figure", str(tmp_path / "trade_off")] in [
        line.split(None, 1) for line in text.splitlines()
    ]
    assert saved[0].get_figwidth() == 6.9 and "reminder" in saved[0].get_suptitle()
    assert not list(tmp_path.iterdir())


def test_uncalibrated_model_is_shown_once(tmp_path, drawn) -> None:
    text = show_run(run(tmp_path, []), {})
    assert drawn[0][0] == "trade_off" and text.count("variant v1") == 1


def test_single_setting_is_shown_even_if_it_was_not_chosen(tmp_path, drawn) -> None:
    text = show_run(run(tmp_path, ["reminder"], better=False), {})
    assert "The uncalibrated model, chosen on validation" in text
    assert text.count("variant v1") == 2


def test_parts_of_the_mini_world_are_only_in_the_summary(tmp_path, drawn) -> None:
    assert "variant" not in show_run(run(tmp_path, ["reminder"], data="mini"), {})


@pytest.mark.parametrize("methods", [["reminder"], ["reminder", "caution"]])
def test_dual_use_only_has_its_own_table(tmp_path, drawn, methods) -> None:
    text = show_run(run(tmp_path, methods, "dual_use"), {})
    assert text.count("original pictures (n = 8 / 4)") == 1 + len(methods)
    assert "variant" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_mapping_applies_to_every_table(tmp_path, drawn) -> None:
    text = show_run(run(tmp_path, ["reminder"], mapping="paper"), {})
    assert "mapping=paper" in text and "SRA*" not in text
