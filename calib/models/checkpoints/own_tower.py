"""Whether a checkpoint has a vision tower that only calib reads (calib.models.towers)."""

from calib.models.checkpoints.build_commands import BUILDS
from calib.util.files import home_expanded
from calib.util.reading import file_bytes, parse_json

OWN_TOWERS = ("efficientnet_lite", "naming_tower")
"""Model types of calib.models.towers. Named here, since the towers themselves import torch."""
NOT_READ = "has a vision tower of calib's own, which {} does not read"


def has_own_tower(checkpoint: str | None) -> bool:
    """Whether the folder ``checkpoint`` has a vision tower of calib's own, by its config.json or,
    where it is not there, by its name; false for an id of the hub."""
    if not checkpoint:
        return False
    folder = home_expanded(checkpoint)
    try:
        config = parse_json(file_bytes(folder / "config.json"))
    except (OSError, ValueError):
        return folder.name in BUILDS
    tower = config.get("vision_config") if isinstance(config, dict) else None
    return isinstance(tower, dict) and tower.get("model_type") in OWN_TOWERS
