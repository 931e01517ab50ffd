"""Requests of vllm-lens' own client, whose environment does not need calib.

    python vllm_lens_client.py client|inspect URL MODEL REQUESTS.json

REQUESTS has a list of objects: "messages", "max_tokens", and "vectors", a list of the arguments of
SteeringVector with nested lists in place of tensors. Prints a JSON list with a list for each
response: its text, and the activations of layer 2 at the last token. An error is an object with its
message.
"""

import asyncio
import json
import sys
from pathlib import Path

import torch
from vllm_lens import Hook, SteeringVector
from vllm_lens.client import VLLMLensClient


def steering_vectors(request):
    return [
        SteeringVector(**{**fields, "activations": torch.tensor(fields["activations"])})
        for fields in request["vectors"]
    ]


def last_of(activations):
    return activations["residual_stream"][0, -1].tolist()


def with_client(url, model, requests):
    """Responses of VLLMLensClient, and the error of a hook."""
    client = VLLMLensClient(url.removesuffix("/v1"), model)
    responses = []
    for request in requests:
        messages, max_tokens = request["messages"], request["max_tokens"]
        vectors = steering_vectors(request)
        output = client.chat(
            messages, max_tokens=max_tokens, steering_vectors=vectors, capture_layers=[2]
        )
        responses.append([output.text, last_of(output.activations)])
    hook = Hook(fn=print, layer_indices=[1])
    for send in (
        lambda: client.chat(messages, hooks=[hook]),
        lambda: client.register_hooks([hook]),
        lambda: client.generate("Hello"),
    ):
        try:
            responses.append(send().text)
        except RuntimeError as error:
            responses.append({"error": str(error)})
    return responses


def with_inspect(url, model, requests):
    """Responses of inspect-ai's provider vllm-lens, sent together."""
    from inspect_ai.model import (
        ChatMessageUser,
        ContentImage,
        ContentText,
        GenerateConfig,
        get_model,
    )

    served = get_model(f"vllm-lens/{model}", base_url=url, api_key="none")

    def content(parts):
        if isinstance(parts, str):
            return parts
        return [
            ContentText(text=part["text"])
            if part["type"] == "text"
            else ContentImage(image=part["image_url"]["url"])
            for part in parts
        ]

    async def send(request):
        (message,) = request["messages"]
        arguments = {
            "apply_steering_vectors": steering_vectors(request),
            "output_residual_stream": [2],
        }
        config = GenerateConfig(
            temperature=0, max_tokens=request["max_tokens"], extra_body={"extra_args": arguments}
        )
        output = await served.generate(
            [ChatMessageUser(content=content(message["content"]))], config=config
        )
        assert len(output.metadata["token_ids"]) == output.usage.output_tokens
        return [output.completion, last_of(output.metadata["activations"])]

    async def send_all():
        return await asyncio.gather(*map(send, requests))

    return asyncio.run(send_all())


if __name__ == "__main__":
    way, url, model, path = sys.argv[1:]
    send = {"client": with_client, "inspect": with_inspect}[way]
    print(json.dumps(send(url, model, json.loads(Path(path).read_text(encoding="utf-8")))))
