"""The figure of separability: what is drawn, and that nothing to draw is explained."""

import pytest

from calib.config_methods import CONTRASTS
from calib.errors import CalibError
from calib.report.figures import layers as separability


def test_separability_by_layer(tmp_path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(separability, "save", lambda figure, stem: drawn.append(figure))
    separability.layer_separability({1: 0.9, 0: 0.6}, "m", tmp_path / "f", {1: (0.85, 0.95)})
    assert drawn[0].axes[0].lines[0].get_xydata().tolist() == [[0, 0.6], [1, 0.9]]
    assert "m" in drawn[0].get_suptitle()


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_every_contrast_has_its_words(tmp_path, monkeypatch, contrast) -> None:
    drawn = []
    monkeypatch.setattr(separability, "save", lambda figure, stem: drawn.append(figure))
    separability.layer_separability({0: 0.6}, "m", tmp_path / "f", None, contrast)
    assert " and " in drawn[0].get_suptitle() or "'s" in drawn[0].get_suptitle()


def test_no_layer_at_all_is_explained(tmp_path) -> None:
    with pytest.raises(CalibError, match="no layer to draw"):
        separability.layer_separability({}, "m", tmp_path / "f")
