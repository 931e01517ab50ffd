"""A chat model behind an endpoint, as a run sees it: what it is called, and how it answers."""

import dataclasses
import hashlib
import json
from typing import Any

from calib.config_models import RemoteModelConfig
from calib.data.example import Example
from calib.errors import CalibError
from calib.remote.endpoint import Access, Endpoint, Reply
from calib.remote.messages import NO_ANSWER, messages_of
from calib.remote.trouble import TOO_LONG


class RemoteModel:
    """A model that is asked over a network: no weights, no activations, no KL.

    Like a loaded one it has a name, a checkpoint and a fingerprint. Safe to be asked by several
    threads at once.
    """

    def __init__(self, config: RemoteModelConfig) -> None:
        """Raises CalibError where no model is named, the package openai is missing, the key is, or
        the key stands in a setting; sends nothing yet."""
        if config.model is None:
            raise CalibError(
                f"model={config.name} needs the id of a model as its endpoint names it: "
                "model.model=ID, best one with a date, which stays the same model."
            )
        self.config, self.name, self.model = config, config.name, config.model
        self.endpoint = Endpoint(_access(config))
        if self.endpoint.knows(json.dumps(dataclasses.asdict(config), ensure_ascii=False)):
            raise CalibError(
                f"one of the settings of model={config.name} holds the key in {config.key_env}, "
                "and settings are written to the run's folder. Take it out."
            )

    @property
    def checkpoint(self) -> str:
        """The provider, and the id of the model there."""
        return f"{self.name}:{self.model}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over what decides a response, as far as it can be known from here."""
        config = self.config
        decisive = [
            config.base_url.rstrip("/"),
            config.model,
            sorted(set(config.sends)),
            config.extra or {},
            config.image_side,
            NO_ANSWER,
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def notes(self) -> list[str]:
        """What a reader of its results should know."""
        config = self.config
        found = [
            f"{self.checkpoint} is asked at {config.base_url}: the provider may change it at any "
            "time, nobody can look inside, and no KL is measured"
        ]
        if "temperature" not in config.sends:
            found.append(f"{self.checkpoint} is sent no temperature: its responses are drawn")
        return [*found, *([config.note] if config.note else [])]

    def ask(
        self, example: Example, limit: int, temperature: float, top_p: float, seed: int
    ) -> Reply:
        """What it answers in at most ``limit`` tokens.

        Raises CalibError when it cannot be reached, the budget is used up, or the prompt is too
        long for it; Halted after endpoint.halt().
        """
        sampling: dict[str, Any] = {"temperature": temperature}
        if temperature > 0:
            sampling["seed"] = seed % 2**31
            if top_p < 1:
                sampling["top_p"] = top_p
        sent = {name: value for name, value in sampling.items() if name in self.config.sends}
        messages = messages_of(example, self.config.image_side)
        reply = self.endpoint.ask(
            self.model, messages, limit, {**sent, **(self.config.extra or {})}
        )
        if reply.held == TOO_LONG:
            raise CalibError(
                f"the prompt of example '{example.id}' is too long for {self.checkpoint}. Show "
                "fewer demonstrations, or smaller pictures (model.image_side). Finished rows are "
                "safe."
            )
        return reply


def _access(config: RemoteModelConfig) -> Access:
    return Access(
        group="model",
        models="model.model",
        needed=(
            "A remote model answers through the package openai: pip install 'calib[api]'. Or take "
            "a model with weights, e.g. model=internvl."
        ),
        kept="Finished rows are safe.",
        base_url=config.base_url,
        key_env=config.key_env,
        timeout=config.timeout,
        retries=config.retries,
        max_requests=config.max_requests,
        limit_name=config.limit_name,
        blocks=config.blocks,
        hint=(
            "model.sends says which of temperature, top_p and seed are sent, model.extra what else."
        ),
    )
