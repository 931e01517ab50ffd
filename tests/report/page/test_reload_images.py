"""Images of a finished run are reloaded, or a note says why not."""

from made_up_run import asked, write_run

from calib.report.page.images import reload_images
from calib.runs.run import Run


def test_images_of_queries_and_questions_are_reloaded(tmp_path):
    run = Run.load(write_run(tmp_path / "run"))
    known = {**run.settings, "utility": {"name": "mini", "limit": 4}}
    reloaded, notes = reload_images(run.replace(settings=known))
    assert notes == []
    for example in asked():
        again = reloaded.examples[example.id].picture
        assert (again is None) == (example.picture is None)
        if again:
            assert again().tobytes() == example.picture().tobytes()


def test_images_that_cannot_be_reloaded_are_noted(tmp_path):
    run = Run.load(write_run(tmp_path / "run"))
    data = {**run.settings["data"], "parts": ["nothing"]}
    known = {**run.settings, "data": data, "utility": {"name": "unheard"}}
    reloaded, notes = reload_images(run.replace(settings=known))
    assert all(example.picture is None for example in reloaded.examples.values())
    assert "run " in notes[0] and "queries" in notes[0] and "nothing" in notes[0]
    assert "questions" in notes[1] and "unheard" in notes[1]
    known = {**run.settings, "utility": {"name": "mini", "limit": "many"}}
    reloaded, notes = reload_images(run.replace(settings=known))
    assert any(example.picture for example in reloaded.examples.values() if example.safety)
    assert len(notes) == 1 and "'mini'" in notes[0] and "many" in notes[0]
