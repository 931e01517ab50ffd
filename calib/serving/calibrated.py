"""What is served: a model, a method, and the layer and strength at which it stands."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from calib.interventions.intervention import BASELINE, Method, Setting
from calib.models.load import VLM
from calib.serving.api_errors import APIError
from calib.util.errors import did_you_mean

UNCALIBRATED = "-uncalibrated"
CHARACTERS = 64
"""Most characters of a text for each token of the context; longer ones are not even tokenised."""
KEPT_SETTINGS = 256
"""Settings whose edits are kept: rows under one setting hold the same edits."""


@dataclass(frozen=True)
class Calibrated:
    """A model calibrated by a method, by default at one layer and strength."""

    vlm: VLM
    name: str
    """What clients call it; with "-uncalibrated" behind it they get the model as it is."""
    method: Method | None = None
    """None serves the uncalibrated model alone."""
    layer: int | None = None
    strength: float = 0.0
    strengths: Sequence[float] = ()
    """Those that were configured: all that a method whose strength counts something has."""
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The models' names."""
        plain = self.name + UNCALIBRATED
        return [plain] if self.method is None else [self.name, plain]

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its response."""
        config = self.vlm.model.config.get_text_config(decoder=True)
        return int(config.max_position_embeddings)

    def point(
        self, model: str, strength: float | None, layer: int | None
    ) -> tuple[int | None, float]:
        """Layer and strength of a request that names a model and may want other ones.

        Raises Refused for an unknown model, and for what its method has not.
        """
        if model not in self.names:
            raise APIError(
                f"the model '{model[:200]}' is not served here.{did_you_mean(model, self.names)} "
                f"Choose from {', '.join(self.names)}.",
                "model",
                "model_not_found",
                404,
            )
        if model == self.names[-1]:
            if strength or layer is not None:
                raise APIError(
                    f"{model} is the model without calibration, which has no strength and no "
                    "layer. Leave calib away, or ask for the other model.",
                    "calib",
                )
            return None, 0.0
        assert self.method is not None
        if strength is not None:
            self._check_strength(strength)
        if layer is not None and layer not in self.method.layers:
            some = [one for one in self.method.layers if one is not None]
            choice = f"Choose from {_shown(some)}." if some else "Leave calib.layer away."
            raise APIError(
                f"{self.method.name} has no setting at layer {layer}. {choice}", "calib.layer"
            )
        return (
            self.layer if layer is None else layer,
            self.strength if strength is None else strength,
        )

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise Refused for texts that are too long by far, or hold what stands for a picture."""
        longest = self.context * CHARACTERS
        if sum(map(len, texts)) > longest:
            raise APIError(
                f"the messages have more than {longest} characters, and the model's context has "
                f"{self.context} tokens. Shorten them.",
                "messages",
                "context_length_exceeded",
            )
        for mark in self.marks:
            if any(mark in text for text in texts):
                raise APIError(
                    f"a text holds {mark}, which stands for a picture in this model's prompts. "
                    "Leave it away; pictures are parts of type image_url.",
                    "messages",
                    "invalid_messages",
                )

    @functools.cached_property
    def marks(self) -> list[str]:
        """What stands for pictures in the prompts of the model."""
        processor = self.vlm.processor
        named = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
        named += [processor.tokenizer.decode([token]) for token in self.vlm.image_token_ids]
        return sorted({mark for mark in named if isinstance(mark, str) and mark})

    def _check_strength(self, strength: float) -> None:
        assert self.method is not None
        axis = self.method.axis
        if axis.integer and strength not in (0.0, *self.strengths):
            choice = ", ".join(f"{one:g}" for one in sorted({0.0, *self.strengths}))
            raise APIError(
                f"strength {strength:g}: for {self.method.name} it is {axis.meaning}. Choose from "
                f"{choice}.",
                "calib.strength",
            )
        if not axis.signed and strength < 0:
            raise APIError(
                f"strength {strength:g}: {self.method.name} has none below 0 ({axis.meaning}).",
                "calib.strength",
            )

    @functools.cached_property
    def setting(self) -> "functools._lru_cache_wrapper[Setting]":
        """The setting at a layer and a strength; for the same ones, the same object."""

        @functools.lru_cache(KEPT_SETTINGS)
        def found(layer: int | None, strength: float) -> Setting:
            if self.method is None or strength == 0:
                return BASELINE
            return self.method.setting(layer, strength)

        return found


def _shown(layers: Sequence[int]) -> str:
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(map(str, layers))
