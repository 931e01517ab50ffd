"""A chat model behind an endpoint: its identity, chat messages and responses.

The system prompt becomes a system message, each demonstration a user and an assistant message, and
the query the last user message. Images precede the text of their message.
"""

import base64
import dataclasses
import hashlib
import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from calib.config.model import RemoteModelConfig
from calib.data.example import Example, Picture
from calib.models.endpoint import Access, Endpoint, Reply
from calib.util.errors import CalibError

NO_ANSWER = "(no answer)"
"""Replaces an empty response in an earlier turn, because endpoints reject messages without text."""
_IMAGE_LOCK = threading.Lock()
"""Images are opened one at a time: their files are not thread-safe to read."""


def chat_messages(example: Example, image_side: int) -> list[dict[str, Any]]:
    """Chat messages of ``example``, each image at most ``image_side`` pixels wide and high.

    Raises CalibError if the example has a response prefix: endpoints do not accept one.
    """
    if example.response_prefix:
        raise CalibError(
            "unsupported",
            f"example '{example.id}' has a response prefix, and remote models cannot continue a "
            "given response. Use a model with weights.",
        )
    messages: list[dict[str, Any]] = []
    if example.system:
        messages.append({"role": "system", "content": example.system})
    for turn in example.demonstrations:
        messages.append(_user_message(turn.query, turn.pictures, image_side))
        response = turn.response if turn.response.strip() else NO_ANSWER
        messages.append({"role": "assistant", "content": response})
    return [*messages, _user_message(example.query, example.pictures, image_side)]


def _user_message(text: str, pictures: Sequence[Picture], image_side: int) -> dict[str, Any]:
    if not pictures:
        return {"role": "user", "content": text}
    images = [image_part(picture, image_side) for picture in pictures]
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


def image_part(picture: Picture, image_side: int) -> dict[str, Any]:
    """A picture as a part of a chat message, at most ``image_side`` pixels wide and high."""
    return {"type": "image_url", "image_url": {"url": data_url(picture, image_side)}}


def data_url(picture: Picture, image_side: int) -> str:
    """An image as a PNG data URL, its longer side at most ``image_side`` pixels."""
    with _IMAGE_LOCK:
        image = picture().convert("RGB")
    image.thumbnail((image_side, image_side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class RemoteModel:
    """A model behind an endpoint: no weights, no activations, no KL. Thread-safe.

    Like a loaded model (VLM) it has a name, a checkpoint and a fingerprint.
    """

    def __init__(self, config: RemoteModelConfig) -> None:
        """Create the client without sending a request.

        Raises CalibError if no model id is given, the openai package or the key is missing, or a
        setting contains the key.
        """
        if config.model is None:
            raise CalibError(
                "missing-setting",
                f"model={config.name} needs a model id as its endpoint names it: model.model=ID. "
                "Prefer an id with a date, which always names the same model.",
            )
        self.config, self.name, self.model = config, config.name, config.model
        self.endpoint = Endpoint(_access(config))
        if self.endpoint.contains_key(json.dumps(dataclasses.asdict(config), ensure_ascii=False)):
            raise CalibError(
                "invalid-setting",
                f"A setting of model={config.name} contains the key of {config.key_env}, and "
                "settings are written to the run's folder. Remove the key from the settings.",
            )

    @property
    def checkpoint(self) -> str:
        """Provider and model id, e.g. "gpt:gpt-5.4-mini-2026-03-17"."""
        return f"{self.name}:{self.model}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the settings that determine a response. The weights are not known."""
        config = self.config
        settings = [
            config.base_url.rstrip("/"),
            config.model,
            sorted(set(config.sends)),
            config.extra or {},
            config.image_side,
            NO_ANSWER,
        ]
        # Left out where unset: fingerprints of earlier runs stay valid.
        settings += [config.chat_template_kwargs] if config.chat_template_kwargs else []
        settings += [config.system_place] if config.system_place != "template" else []
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def notes(self) -> list[str]:
        """Caveats for the reader of the results."""
        config = self.config
        notes = [
            f"{self.checkpoint} was queried at {config.base_url}. The provider may change the "
            "model at any time; its activations and the KL cannot be measured"
        ]
        if "temperature" not in config.sends:
            notes.append(f"{self.checkpoint} accepts no temperature: its responses are sampled")
        return [*notes, *([config.note] if config.note else [])]

    def respond(
        self, example: Example, limit: int, temperature: float, top_p: float, seed: int
    ) -> Reply:
        """Response to ``example`` in at most ``limit`` tokens.

        A prompt that exceeds the model's context gives a reply that is blocked by TOO_LONG. Raises
        CalibError if the endpoint fails or the budget is used up, and Aborted after
        endpoint.abort().
        """
        sampling: dict[str, Any] = {"temperature": temperature}
        if temperature > 0:
            sampling["seed"] = seed % 2**31
            if top_p < 1:
                sampling["top_p"] = top_p
        accepted = {name: value for name, value in sampling.items() if name in self.config.sends}
        if self.config.system_place == "user":
            example = example.with_system_in_query()
        messages = chat_messages(example, self.config.image_side)
        kwargs = self.config.chat_template_kwargs
        further = {
            **(self.config.extra or {}),
            **({"chat_template_kwargs": kwargs} if kwargs else {}),
        }
        return self.endpoint.complete(self.model, messages, limit, {**accepted, **further})


def system_prompt_note(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A note if the endpoint counts as many prompt tokens with a system prompt as without, in all
    pairs of recorded rows that differ in nothing else; none where there is no such pair."""
    counts: dict[tuple[Any, ...], dict[Any, int]] = {}
    for row in rows:
        if row.get("prompt_tokens") and row["finish"] != "blocked":
            prompt = (row["example"], row["query"], row["demonstrations"])
            counts.setdefault(prompt, {})[row["system"]] = row["prompt_tokens"]
    compared = [by_system.values() for by_system in counts.values() if len(by_system) > 1]
    if not compared or any(len(set(tokens)) > 1 for tokens in compared):
        return []
    return [
        f"the endpoint counts as many prompt tokens with a system prompt as without, in all "
        f"{len(compared)} prompts that were sent both ways: its chat template leaves out system "
        "messages, and methods with place=system changed nothing. Give model.system_place=user, or "
        "method.place=before"
    ]


def _access(config: RemoteModelConfig) -> Access:
    return Access(
        config_group="model",
        model_setting="model.model",
        package_hint=(
            "Remote models need the openai package: pip install 'calib[api]'. Or use a model with "
            "weights, e.g. model=internvl."
        ),
        saved_note="Finished rows, if any, are saved.",
        base_url=config.base_url,
        key_env=config.key_env,
        timeout=config.timeout,
        retries=config.retries,
        max_requests=config.max_requests,
        limit_name=config.limit_name,
        blocks=config.blocks,
        rejection_hint=(
            "model.sends lists which of temperature, top_p and seed are sent, model.extra the "
            "other fields of the request."
        ),
    )
