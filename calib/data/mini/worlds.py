"""The mini worlds by name and by setting, and the one that an example belongs to."""

from calib.data.example import Example
from calib.data.mini.first.world import FIRST
from calib.data.mini.second.world import SECOND
from calib.data.mini.world import World

WORLDS = {world.name: world for world in (FIRST, SECOND)}
MINI_WORLDS: dict[str, World] = {"mini": FIRST, "mini2": SECOND}
"""The worlds by the value of ``data=`` and of ``utility=``."""


def world_of(example: Example) -> World:
    """The world that an example's metadata names; the first world's examples name none."""
    return WORLDS[example.metadata.get("world", FIRST.name)]


def request_in(query: str) -> str | None:
    """The request that a text-centric query of any world contains; None for other queries."""
    found = (world.request_in(query) for world in WORLDS.values())
    return next((request for request in found if request), None)
