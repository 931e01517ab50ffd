"""Requests that run before the server accepts traffic, to find what the model cannot answer."""

from dataclasses import replace

from PIL import Image

from calib.data.example import Example
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.serving.served_model import ServedModel
from calib.util.errors import CalibError


def warm_up(served: ServedModel, decoding: Decoding) -> list[str]:
    """Run requests with and without an image, edited and unedited.

    Returns a message for each that fails; raises CalibError if all fail.
    """
    messages: list[str] = []
    setting = served.setting(served.layer, served.strength)
    flow = setting.intervention.prompt_flow
    for example in WARM_UP_EXAMPLES:
        prompt = flow.next(example, ()) if flow else example
        assert isinstance(prompt, Example)
        try:
            edits = setting.intervention.edits_for([prompt])[0]
            engine = Engine(served.vlm, replace(decoding, max_new_tokens=1))
            engine.answer([Request(prompt), Request(prompt, edits)])
        except CalibError as error:
            messages.append(f"{example.id}: {error}")
            if len(messages) == len(WARM_UP_EXAMPLES):
                raise
    return messages


def _blank_image() -> Image.Image:
    return Image.new("RGB", (64, 64), "white")


def _warm_up_example(name: str, with_image: bool) -> Example:
    return Example(
        id=name,
        dataset="probe",
        variant="probe",
        category="probe",
        split="test",
        query="What is this?",
        picture=_blank_image if with_image else None,
    )


WARM_UP_EXAMPLES = (
    _warm_up_example("requests without an image", False),
    _warm_up_example("requests with an image", True),
)
