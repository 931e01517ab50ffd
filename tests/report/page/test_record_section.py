"""The record of a run in the report."""

from types import SimpleNamespace

from calib.report.page.record_section import record_section


def test_what_the_fits_picked_is_listed_and_escaped(tmp_path):
    shown = {"2": {"drawn": {"ids": ["<b>id</b>"], "checksum": "0123456789abcdef"}}}
    run = SimpleNamespace(
        folder=tmp_path, name="run", settings_text="", provenance={}, manifest={},
        operating_points=[
            {"method": "steer", "fit_notes": ["steer: layer 3, threshold 0.5", "<i>both</i>"]},
            {"method": "few_shot", "fit_notes": ["<i>both</i>"], "demonstrations": shown},
            {"method": "of an earlier version"},
        ],
    )  # fmt: skip
    text = str(record_section([run], tmp_path / "report.html"))
    assert "steer: layer 3, threshold 0.5" in text and "Demonstrations of few_shot" in text
    assert "&lt;b&gt;id&lt;/b&gt;" in text and "<b>" not in text and "<i>" not in text
    assert text.count("&lt;i&gt;both") == 1
