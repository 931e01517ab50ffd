"""What the playground's page asks the server for, besides responses."""

import base64
import io
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from calib.data.example import Example, Picture
from calib.judges.judge import JudgeInput
from calib.judges.string import STRING
from calib.runs.run import Run
from calib.serving.api_errors import APIError
from calib.serving.playground.controls import command, controls
from calib.serving.playground.examples import (
    Examples,
    Recorded,
    mini_examples,
    run_examples,
    with_images,
)
from calib.serving.served_model import ServedModel
from calib.util.errors import CalibError

OWN = Example("own", "request", "request", "request", "test", "")
"""Stands for a query of the person's own, about which nothing is known."""


class Playground:
    """The controls, the examples and the labels of one server's page."""

    def __init__(
        self, served: ServedModel, run: Run | None = None, arguments: Sequence[str] | None = None
    ) -> None:
        """``run`` is the served run, whose rows the server has read for its verdict; ``arguments``
        are those of the command that started the server; None shows no command, since they hold
        paths of this machine."""
        self.served, self.run = served, run
        self.command = None if arguments is None else command(arguments)
        self._examples: dict[str, Examples] = {}
        self._loading = threading.Lock()

    def preload(self) -> None:
        """Begin to load the examples, which takes seconds for a large run."""
        thread = threading.Thread(
            target=self.examples, args=(self.served.name,), name="calib playground", daemon=True
        )
        thread.start()

    def settings(self) -> dict[str, Any]:
        """What the page needs before its first request."""
        served = [controls(each) for each in self.served.methods]
        return {"served": served, "command": self.command, "run": self.run is not None}

    def examples(self, model: str) -> Examples:
        """The examples beside a model's method, loaded when they are first asked for.

        Raises APIError for an unknown model.
        """
        method = self.served.named(model).method
        name = method.name if method else ""
        with self._loading:
            if name not in self._examples:
                self._examples[name] = self._load(name)
            return self._examples[name]

    def _load(self, method: str) -> Examples:
        checkpoint, note = self.served.vlm.checkpoint, ""
        if self.run is not None:
            try:
                run, notes = self._run
                return run_examples(run, method, checkpoint, notes)
            except CalibError as error:
                note = f"The run's examples are missing: {error}"
        examples = mini_examples(checkpoint)
        examples.notes.extend([note] if note else [])
        return examples

    @cached_property
    def _run(self) -> tuple[Run, list[str]]:
        assert self.run is not None
        return with_images(self.run)

    def list(self, model: str) -> dict[str, Any]:
        """The list of examples as a JSON object."""
        examples = self.examples(model)
        return {
            "source": examples.source,
            "total": examples.total,
            "judge": examples.judge.id,
            "notes": examples.notes,
            "examples": [
                {
                    "id": one.example.id,
                    "part": one.example.dataset,
                    "query": one.example.query,
                    "object": one.example.metadata.get("object"),
                    "safety": one.example.safety,
                    "changed": one.changed,
                    "before": one.before.label if one.before else None,
                    "after": one.after.label if one.after else None,
                }
                for one in examples.offered
            ],
        }

    def example(self, model: str, number: str) -> dict[str, Any]:
        """One example with its pictures and the run's responses, by its number in the list.

        Raises APIError if there is no such example, or a picture cannot be opened.
        """
        examples = self.examples(model)
        offered, covered = examples.offered, examples.covered
        known = {str(index): one for index, one in enumerate(offered)}
        if number not in known:
            raise APIError(f"There is no example '{number:.20}'.", None, "unknown_url", 404)
        one = known[number]
        try:
            pictures = [_data_url(picture) for picture in one.example.pictures]
        except (OSError, ValueError, CalibError) as error:
            reason = f"A picture of the example cannot be opened: {error}"
            raise APIError(reason, None, "invalid_image") from error
        return {
            "query": one.example.query,
            "system": one.example.system,
            "pictures": pictures,
            "covered": covered and one.example.safety == "unsafe",
            "before": _recorded(one.before),
            "after": _recorded(one.after),
        }

    def labels(self, model: str, number: int | None, responses: Sequence[str]) -> dict[str, Any]:
        """The judge of responses and its labels: responses to an example, or to a query of the
        person's own (None), which judge=string labels.

        Raises APIError if there is no such example.
        """
        examples = self.examples(model)
        judge, example = STRING, OWN
        if number is not None:
            if not 0 <= number < len(examples.offered):
                raise APIError(f"There is no example {number}.", "example")
            judge, example = examples.judge, examples.offered[number].example
        if judge.id == "rules" and example.safety is None:  # a question, whose answer is known
            judge = STRING
        verdicts = judge([JudgeInput(example, response) for response in responses])
        return {"judge": judge.id, "labels": [verdict.label for verdict in verdicts]}


def _recorded(recorded: Recorded | None) -> dict[str, Any] | None:
    return None if recorded is None else {"text": recorded.text, "label": recorded.label}


def _data_url(picture: Picture) -> str:
    file = io.BytesIO()
    picture().convert("RGB").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
