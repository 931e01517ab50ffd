"""Pictures of a finished run are loaded again, or it is said why not."""

from dataclasses import replace

from made_up_run import asked, write_run

from calib.report.page.images import with_pictures_again
from calib.runs.run import read_finished


def test_pictures_of_queries_and_questions_come_back(tmp_path):
    run = read_finished(write_run(tmp_path / "run"))
    known = {**run.identity, "utility": {"name": "mini", "limit": 4}}
    found, notes = with_pictures_again(replace(run, identity=known))
    assert notes == []
    for one in asked():
        again = found.examples[one.id].picture
        assert (again is None) == (one.picture is None)
        if again:
            assert again().tobytes() == one.picture().tobytes()


def test_what_cannot_be_loaded_is_said_and_the_rest_is_there(tmp_path):
    run = read_finished(write_run(tmp_path / "run"))
    data = {**run.identity["data"], "parts": ["nothing"]}
    known = {**run.identity, "data": data, "utility": {"name": "unheard"}}
    found, notes = with_pictures_again(replace(run, identity=known))
    assert all(one.picture is None for one in found.examples.values())
    assert "run is shown without the pictures of its queries" in notes[0]
    assert "without the pictures of its questions" in notes[1]
    known = {**run.identity, "utility": {"name": "mini", "limit": "many"}}
    found, notes = with_pictures_again(replace(run, identity=known))
    assert any(one.picture for one in found.examples.values() if one.safety)
    assert len(notes) == 1 and "utility=mini was configured otherwise" in notes[0]
