"""What the hostile inputs of a session share."""

from pathlib import Path

import pytest
from hostile import Place, Shared


@pytest.fixture(scope="session")
def shared(vlm, tmp_path_factory) -> Shared:
    return Shared(tmp_path_factory.mktemp("shared"), vlm)


@pytest.fixture
def place(shared: Shared, tmp_path: Path) -> Place:
    folder = tmp_path / "given"
    folder.mkdir()
    return Place(folder, shared)
