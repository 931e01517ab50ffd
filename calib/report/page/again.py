"""The pictures of a finished run, loaded again from its benchmark and its questions."""

from dataclasses import replace

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calib.config_data import PublishedUtility, UtilityConfig
from calib.data.benchmarks import load_utility
from calib.data.example import Example
from calib.errors import CalibError
from calib.runs.finished import FinishedRun

_PLAIN = ("mini", "none")


def with_pictures_again(run: FinishedRun) -> tuple[FinishedRun, list[str]]:
    """``run`` with the pictures that can be had, and why others cannot."""
    notes = []
    try:
        run = run.with_pictures("the report shows the pictures")
    except CalibError as error:
        notes.append(f"{run.folder.name} is shown without the pictures of its queries: {error}")
    try:
        questions = {example.id: example for example in _questions(run)}
    except CalibError as error:
        notes.append(f"{run.folder.name} is shown without the pictures of its questions: {error}")
        return run, notes
    found = dict(run.examples)
    for name, example in found.items():
        again = questions.get(name)
        if example.safety is None and again is not None and again.query == example.query:
            found[name] = replace(example, picture=again.picture)
    return replace(run, examples=found), notes


def _questions(run: FinishedRun) -> list[Example]:
    given = run.identity.get("utility")
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        return []
    schema = UtilityConfig if given["name"] in _PLAIN else PublishedUtility
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), given))
    except OmegaConfBaseException as error:
        name = given["name"]
        raise CalibError(f"utility={name} was configured otherwise ({error})") from error
    assert isinstance(config, UtilityConfig)
    return load_utility(config, run.seed, run.identity["data"].get("system"))
