"""What a model is asked before it is served, so that nobody else is the first."""

from PIL import Image

from calib.data.example import Example


def _blank() -> Image.Image:
    return Image.new("RGB", (64, 64), "white")


def _probe(name: str, pictured: bool) -> Example:
    return Example(
        id=name,
        dataset="probe",
        variant="probe",
        category="probe",
        split="test",
        query="What is this?",
        picture=_blank if pictured else None,
    )


PROBES = (_probe("a request without a picture", False), _probe("a request with a picture", True))
