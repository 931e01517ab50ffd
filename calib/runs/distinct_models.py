"""Runs of several models, told apart where two folders of weights have one name."""

from collections.abc import Sequence
from pathlib import PurePath

from calib.runs.run import Run


def with_distinct_models(runs: Sequence[Run]) -> list[Run]:
    """``runs``, with a number after the name of each model whose name another one has, as in
    "checkpoint-500 (2)": the path, which would separate them too, is of the user's machine."""
    if len(runs) < 2:
        return list(runs)
    of_name: dict[str, list[PurePath]] = {}
    for run in runs:
        known = of_name.setdefault(run.model_name, [])
        if PurePath(run.checkpoint) not in known:
            known.append(PurePath(run.checkpoint))
    distinct = []
    for run in runs:
        known = of_name[run.model_name]
        number = known.index(PurePath(run.checkpoint)) + 1
        name = f"{run.model_name} ({number})" if len(known) > 1 else run.model_name
        distinct.append(run if name == run.model_name else run.replace(model_name=name))
    return distinct
