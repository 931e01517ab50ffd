"""A served model behind a real socket, and the official client."""

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")
pytest.importorskip("uvicorn", reason="the serve extra brings fastapi and uvicorn")

from server_thread import ServerThread  # noqa: E402

from calib.config.method import Steer  # noqa: E402
from calib.data.mini.examples import load  # noqa: E402
from calib.directions.direction import write_direction  # noqa: E402
from calib.interventions.fitting import Fitting  # noqa: E402
from calib.serving.refit import build_without_examples  # noqa: E402
from calib.serving.served_model import ServedModel  # noqa: E402


@pytest.fixture(scope="session")
def direction(vlm, tmp_path_factory):
    """The safety direction of a few pairs."""
    pairs = load(["image_centric", "text_centric"], 40)
    return Fitting(vlm, pairs, [], None, tmp_path_factory.mktemp("fit")).direction("safety")


@pytest.fixture(scope="session")
def steered(vlm, direction, tmp_path_factory):
    """mini-internvl with the safety direction at layers 2 and 3."""
    path = tmp_path_factory.mktemp("directions") / "d.safetensors"
    write_direction(path, direction)
    config = Steer(direction=str(path), layers=[2, 3], positions="all", strengths=[4.0])
    method = build_without_examples(vlm, config)
    return ServedModel(vlm, "mini", method, 3, 4.0, [4.0])


@pytest.fixture(scope="module")
def server(steered):
    with ServerThread(steered) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
