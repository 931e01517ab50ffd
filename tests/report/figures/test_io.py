"""Figures are written whole or not at all."""

import pytest
from matplotlib.figure import Figure
from raising import raises

from calib.report.figures.io import save, svg_of


def test_a_figure_that_ends_half_drawn_leaves_the_old_file(tmp_path, monkeypatch):
    (path,) = save(Figure(), tmp_path / "plot", ["png"])
    before = path.read_bytes()

    def half(_, file, **__):
        file.write(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(KeyboardInterrupt):
        save(Figure(), tmp_path / "plot", ["png"])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with raises("unwritable", "plot.png"):
        save(Figure(), tmp_path / "file" / "plot", ["png"])


def test_an_svg_is_the_same_where_a_layout_differs_in_its_last_digit():
    """As the layout of matplotlib does between processes."""

    def drawn(shift):
        figure = Figure()
        figure.add_axes((0.1, 0.1 + shift, 0.5, 0.5)).plot([0, 1], [0, 1])
        return svg_of(figure)

    assert drawn(1e-15) == drawn(0.0)
    assert drawn(0.1) != drawn(0.0)
    assert 'clip-path="url(#clip0)"' in drawn(0.0)
