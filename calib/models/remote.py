"""A chat model behind an endpoint: its name, its messages and its answers.

The system prompt is a system message, demonstrations are user and assistant messages in turn, each
with its own picture, and the query is the last user message, behind its picture.
"""

import base64
import dataclasses
import hashlib
import io
import json
import threading
from typing import Any

from calib.config.model import RemoteModelConfig
from calib.data.example import Example, Picture
from calib.models.backoff import TOO_LONG
from calib.models.endpoint import Access, Endpoint, Reply
from calib.util.errors import CalibError

NO_ANSWER = "(no answer)"
"""Stands for an empty response in an earlier turn: endpoints refuse messages without text."""
_DRAWING = threading.Lock()
"""Pictures of others are read from files that know one reader."""


def messages_of(example: Example, side: int) -> list[dict[str, Any]]:
    """The messages of ``example``, its pictures at most ``side`` pixels long.

    Raises CalibError where its response already begins, which no endpoint can be told.
    """
    if example.response_prefix:
        raise CalibError(
            f"the response to example '{example.id}' is to go on from given words, and a remote "
            "model cannot be told how its response begins. Use a model with weights."
        )
    found: list[dict[str, Any]] = []
    if example.system:
        found.append({"role": "system", "content": example.system})
    for turn in example.demonstrations:
        found.append(_user(turn.query, turn.picture, side))
        said = turn.response if turn.response.strip() else NO_ANSWER
        found.append({"role": "assistant", "content": said})
    return [*found, _user(example.query, example.picture, side)]


def _user(text: str, picture: Picture | None, side: int) -> dict[str, Any]:
    if picture is None:
        return {"role": "user", "content": text}
    image = {"type": "image_url", "image_url": {"url": data_url(picture, side)}}
    return {"role": "user", "content": [image, {"type": "text", "text": text}]}


def data_url(picture: Picture, side: int) -> str:
    """A picture as the URL of a PNG, its longer side at most ``side`` pixels."""
    with _DRAWING:
        image = picture().convert("RGB")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


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
        if self.endpoint.contains_key(json.dumps(dataclasses.asdict(config), ensure_ascii=False)):
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

    def respond(
        self, example: Example, limit: int, temperature: float, top_p: float, seed: int
    ) -> Reply:
        """What it answers in at most ``limit`` tokens.

        Raises CalibError when it cannot be reached, the budget is used up, or the prompt is too
        long for it; Halted after endpoint.abort().
        """
        sampling: dict[str, Any] = {"temperature": temperature}
        if temperature > 0:
            sampling["seed"] = seed % 2**31
            if top_p < 1:
                sampling["top_p"] = top_p
        sent = {name: value for name, value in sampling.items() if name in self.config.sends}
        messages = messages_of(example, self.config.image_side)
        reply = self.endpoint.complete(
            self.model, messages, limit, {**sent, **(self.config.extra or {})}
        )
        if reply.blocked == TOO_LONG:
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
