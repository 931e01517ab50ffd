"""Vision towers that transformers lacks, registered with its Auto classes.

LLaVA's classes take any vision tower that AutoModel knows, so a checkpoint of LlavaConfig with such
a tower loads like every other, without code of its own.
"""

from transformers import AutoConfig, AutoModel

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig


def register_towers() -> None:
    """Let AutoConfig and AutoModel find the towers of this package; repeated calls do nothing."""
    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLite, exist_ok=True)
