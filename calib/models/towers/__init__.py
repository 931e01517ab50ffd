"""Vision towers that transformers lacks, registered with its Auto classes.

LLaVA's classes take any vision tower that AutoModel knows, so a checkpoint of LlavaConfig with such
a tower loads like every other, without code of its own.
"""

from transformers import AutoConfig, AutoModel

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from calib.models.towers.naming import NamingTower, NamingTowerConfig


def register_towers() -> None:
    """Let AutoConfig and AutoModel find the towers of this package; repeated calls do nothing."""
    for config, tower in (
        (EfficientNetLiteConfig, EfficientNetLite),
        (NamingTowerConfig, NamingTower),
    ):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, tower, exist_ok=True)
