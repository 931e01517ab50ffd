"""No figure shows the path of a model; two models whose folders have one name have a number."""

from curves_made_up import methods_of
from measured_made_up import swept, texts
from runs_with_directions import scored_direction

from calib.report.figures.gallery import draw

ALICE, BOB = "/home/alice/weights/tuned", "/home/bob/tuned"


def shown(figure):
    return f"{figure.get_suptitle()} {texts(figure)}"


def test_figures_of_one_folder_of_weights_have_its_name():
    for name in ("methods", "calibration_against_utility", "sra_plane", "vscbench_grid"):
        text = shown(draw(name, methods_of({"a": 0.1, "b": 0.2}, model=ALICE)))
        assert "tuned" in text and "/" not in text.replace("\n", " "), name
    assert "\ntuned" in draw("layers", scored_direction(model=ALICE)).get_suptitle()


def test_two_folders_of_one_name_are_told_apart():
    runs = [swept(model=ALICE, name="one"), swept(["ablate"], model=BOB, name="two")]
    above = draw("vscbench_grid", *runs).axes[:2]
    assert [axes.get_title() for axes in above] == ["tuned (1)", "tuned (2)"]
    for name in ("calibration_against_utility", "sra_plane"):
        text = shown(draw(name, *runs))
        assert "uncalibrated tuned (1)" in text and "uncalibrated tuned (2)" in text
    directions = [scored_direction(model=ALICE), scored_direction(model=BOB, pairs=61)]
    assert "tuned (1), tuned (2)" in draw("layers", *directions).get_suptitle()
