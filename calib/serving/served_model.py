"""A served model: its weights, its method, and the setting that requests get by default."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calib.interventions.intervention import BASELINE, Method, Setting
from calib.models.layers import site_width
from calib.models.load import VLM
from calib.serving.api_errors import APIError
from calib.util.errors import did_you_mean

PROJECTIONS = "calib.projections"
"""Field of a request that asks for projections."""
UNCALIBRATED = "-uncalibrated"
"""Suffix of the name under which clients reach the model without its method."""
MAX_CHARACTERS_PER_TOKEN = 64
"""Texts with more characters per token of context are refused before they are tokenized."""
NO_LIMIT = 10**9
"""Context of a model that states none, in tokens."""
CACHED_SETTINGS = 256
"""Number of cached settings. Rows of one setting share the same edits object."""


@dataclass(frozen=True)
class ServedModel:
    """A model calibrated by a method, with a default layer and strength."""

    vlm: VLM
    name: str
    """Name of the calibrated model; with the suffix "-uncalibrated" that of the plain model.
    Without a method, the name of the plain model itself."""
    method: Method | None = None
    """None serves the uncalibrated model only."""
    layer: int | None = None
    strength: float = 0.0
    strengths: Sequence[float] = ()
    """Configured strengths: for a method whose strength is an integer, the only valid ones."""
    notes: list[str] = field(default_factory=list)
    verdict: str = ""
    """Verdict of the run on the method if it is not yes; "" otherwise or without a run."""
    others: "Sequence[ServedModel]" = ()
    """The same weights with the run's other methods, under names of their own."""

    @property
    def names(self) -> list[str]:
        """Model names that clients may use."""
        return [self.name] if self.method is None else [self.name, self.name + UNCALIBRATED]

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of a prompt and its response."""
        return self.vlm.context_length or NO_LIMIT

    @property
    def bytes_per_activation(self) -> int:
        """Size of the residual stream of one token at one layer."""
        return site_width(self.vlm.model, "residual") * self.vlm.model.dtype.itemsize

    @property
    def methods(self) -> "list[ServedModel]":
        """This model and the others, each with its method."""
        return [self, *self.others]

    def named(self, model: str) -> "ServedModel":
        """The one that clients reach by this name.

        Raises APIError for an unknown name.
        """
        for each in self.methods:
            if model in each.names:
                return each
        raise _unknown(model, [name for each in self.methods for name in each.names])

    def resolve(
        self, model: str, strength: float | None, layer: int | None
    ) -> tuple[int | None, float]:
        """Layer and strength for a request that names a model and may override the defaults.

        Raises APIError for an unknown model, and for a layer or strength that the method lacks.
        """
        if model not in self.names:
            raise _unknown(model, self.names)
        if model == self.names[-1]:
            if strength or layer is not None:
                raise APIError(
                    f"{model} is uncalibrated and has no strength or layer. Omit calib, or use "
                    "the calibrated model.",
                    "calib",
                )
            return None, 0.0
        assert self.method is not None
        if strength is not None:
            self._check_strength(strength)
        if layer is not None and layer not in self.method.layers:
            layers = [choice for choice in self.method.layers if choice is not None]
            advice = f"Choose from {_layer_list(layers)}." if layers else "Omit calib.layer."
            raise APIError(
                f"{self.method.name} has no setting at layer {layer}. {advice}", "calib.layer"
            )
        return (
            self.layer if layer is None else layer,
            self.strength if strength is None else strength,
        )

    def check_projections(self, model: str, layer: int | None) -> int:
        """The layer at which a request for ``layer`` gets projections on the method's direction.

        Raises APIError if the method has no direction of the residual stream there.
        """
        direction = self.method.direction if self.method and model == self.name else None
        reason = ""
        if direction is None:
            reason = f"{model} has no direction to project on."
        elif direction.site != "residual":
            reason = f"The direction is one of the site {direction.site}, not the residual stream."
        elif layer is None or layer not in direction.layers:
            reason = f"The direction has no layer {layer}, only {_layer_list(direction.layers)}."
        if reason:
            raise APIError(f"{reason} Omit {PROJECTIONS}.", PROJECTIONS, "unsupported_value")
        assert layer is not None
        return layer

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise APIError for texts that are far too long or contain an image placeholder."""
        max_characters = self.context_length * MAX_CHARACTERS_PER_TOKEN
        if sum(map(len, texts)) > max_characters:
            raise APIError(
                f"The messages have more than {max_characters} characters, but the model's context "
                f"has {self.context_length} tokens. Shorten them.",
                "messages",
                "context_length_exceeded",
            )
        for placeholder in self.placeholders:
            if any(placeholder in text for text in texts):
                raise APIError(
                    f"A text contains {placeholder}, which stands for an image in this model's "
                    "prompts. Remove it; send images as parts of type image_url.",
                    "messages",
                    "invalid_messages",
                )

    def check_template_kwargs(self, kwargs: Mapping[str, Any]) -> None:
        """Raise APIError for a variable of the chat template that is not the server's own."""
        own = self.vlm.template_kwargs
        for name, value in kwargs.items():
            if (
                name not in own
                or value != own[name]
                or isinstance(value, bool) != isinstance(own[name], bool)
            ):
                current = f"set to {json.dumps(own[name])}" if name in own else "not set"
                raise APIError(
                    f"chat_template_kwargs.{name[:80]} is {current} in this server, for all "
                    "requests. Omit it, or start the server with "
                    f"model.chat_template_kwargs={{{name[:80]}: {json.dumps(value)[:80]}}}.",
                    "chat_template_kwargs",
                    "unsupported_value",
                )

    @functools.cached_property
    def placeholders(self) -> list[str]:
        """Texts that stand for images, videos or audio in the model's prompts."""
        processor = self.vlm.processor
        texts = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
        texts += [processor.tokenizer.decode([token]) for token in self.vlm.image_token_ids]
        return sorted({text for text in texts if isinstance(text, str) and text})

    def _check_strength(self, strength: float) -> None:
        assert self.method is not None
        axis = self.method.axis
        if axis.integer and strength not in (0.0, *self.strengths):
            choices = ", ".join(f"{choice:g}" for choice in sorted({0.0, *self.strengths}))
            raise APIError(
                f"strength {strength:g} is not available: for {self.method.name} it is "
                f"{axis.meaning}. Choose from {choices}.",
                "calib.strength",
            )
        if not axis.signed and strength < 0:
            raise APIError(
                f"strength {strength:g} is negative, which {self.method.name} does not support "
                f"({axis.meaning}).",
                "calib.strength",
            )

    @functools.cached_property
    def setting(self) -> "functools._lru_cache_wrapper[Setting]":
        """Function of layer and strength that returns the setting, cached."""

        @functools.lru_cache(CACHED_SETTINGS)
        def setting(layer: int | None, strength: float) -> Setting:
            if self.method is None or strength == 0:
                return BASELINE
            return self.method.setting(layer, strength)

        return setting


def _unknown(model: str, names: Sequence[str]) -> APIError:
    return APIError(
        f"The model '{model[:200]}' is not served here.{did_you_mean(model, names)} "
        f"Choose from {', '.join(names)}.",
        "model",
        "model_not_found",
        404,
    )


def _layer_list(layers: Sequence[int]) -> str:
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(map(str, layers))
