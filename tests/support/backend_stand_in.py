"""A stand-in for vLLM with vllm-lens: its protocol, carried out by transformers' generate.

It takes the messages, vectors and hooks of requests and nothing else of calib. As in vLLM, a hook
gets the tokens of one request as a slice of a batch, in chunks, and finds out where they are from
the attention metadata; errors of hooks are swallowed, and take all edits of the layer with them.
"""

import base64
import io
import sys
import types

import torch
from PIL import Image

from calib.engine.vllm.request import NOT_FINITE, TOO_LONG, Completion, not_finite
from calib.models.layers import edit_activations

OTHERS = 3
"""Tokens of another request that stand before a request's in each batch."""
CHUNK = 5
"""Prompt tokens of a forward pass."""


class StandIn:
    """A backend; the keyword arguments break it in one way each."""

    runs_hooks = True
    rows_in_flight = 4

    def __init__(self, vlm, *, ignores_edits=False, skips_chunk=False, max_length=10_000,
                 images_of=lambda tokens: tokens, reverses=False, infects=False):  # fmt: skip
        self.vlm, self.ignores_edits, self.skips_chunk = vlm, ignores_edits, skips_chunk
        self.max_length, self.images_of, self.reverses = max_length, images_of, reverses
        self.infects, self.cache = infects, torch.zeros(2, 3)
        self.notes, self.first_only = [], False
        self.sent, self.windows = [], []
        self.metadata = {}
        parent, module = types.ModuleType("vllm"), types.ModuleType("vllm.forward_context")
        module.get_forward_context = lambda: types.SimpleNamespace(
            attn_metadata=self.metadata,
            no_compile_layers={"attention": types.SimpleNamespace(kv_cache=self.cache)},
        )
        sys.modules["vllm"], sys.modules["vllm.forward_context"] = parent, module

    def describe(self):
        return {"engine": "stand-in"}

    def close(self):
        for name in ("vllm", "vllm.forward_context"):
            sys.modules.pop(name, None)

    def complete(self, requests, window):
        self.windows.append(window)
        for start in range(0, len(requests), window):
            indices = list(range(start, min(start + window, len(requests))))
            done = [(index, self._completion(requests[index])) for index in indices]
            yield from reversed(done) if self.reverses else done

    def complete_everywhere(self, request):
        (hook,) = request.hooks
        assert hook.pre and request.max_tokens == 1
        context = types.SimpleNamespace(saved={}, layer_idx=0)
        for _ in hook.layers:
            assert hook.function(context, torch.zeros(2, 4)) is None
        return [Completion("", (7,), (), "length", hook_results={"0": context.saved})]

    @torch.no_grad()
    def _completion(self, request):
        self.sent.append(request)
        if self.infects and not self.cache.isfinite().all():
            return not_finite()
        inputs = self._inputs(request)
        tokens = inputs["input_ids"][0].tolist()
        if len(tokens) + request.max_tokens > self.max_length:
            return Completion("", (), (), TOO_LONG)
        layers = _Layers(self, request)
        with edit_activations(self.vlm.model, layers.changes):
            output = self.vlm.model.generate(
                **inputs,
                max_new_tokens=request.max_tokens,
                do_sample=False,
                eos_token_id=list(request.stop_tokens) or None,
                output_logits=True,
                return_dict_in_generate=True,
            )
        generated = output.sequences[0, len(tokens) :].tolist()
        logprobs = output.logits[0][0].float().log_softmax(-1)
        finite = [bool(step.isfinite().all()) for step in output.logits]
        overflow = finite.index(False) if False in finite else None
        if overflow is not None:
            self.cache.fill_(torch.nan)
        if overflow == 0:
            return not_finite()
        generated = generated[:overflow]
        order = logprobs.argsort(descending=True)
        order = order if request.logprobs == -1 else order[: request.logprobs or 0]
        order = order[:1] if self.first_only else order
        stopped = generated[-1] in request.stop_tokens
        return Completion(
            self.vlm.processor.tokenizer.decode(generated),
            tuple(generated),
            tuple(self.images_of(tokens)),
            NOT_FINITE if overflow else "stop" if stopped else "length",
            (order, logprobs[order]) if request.logprobs else None,
            layers.residual if request.residual_layers is not None else None,
            {str(k): context.saved for k, context in enumerate(layers.contexts)},
        )

    def _inputs(self, request):
        messages = []
        for message in request.messages:
            content = message["content"]
            if not isinstance(content, str):
                content = [_part(part) for part in content]
            messages.append({**message, "content": content})
        inputs = self.vlm.processor.apply_chat_template(
            messages,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=dict(request.processor_kwargs),
            **request.template_kwargs,
        )
        return dict(inputs)


class _Layers:
    """The edits of one request at each layer, and its residual stream."""

    def __init__(self, backend, request):
        self.backend, self.request = backend, request
        self.contexts = [types.SimpleNamespace(saved={}, layer_idx=0) for _ in request.hooks]
        self.residual, self.read = {}, {}
        edited = {k for vector in request.vectors for k in vector.layers}
        edited |= {k for hook in request.hooks for k in hook.layers}
        edited |= set(request.residual_layers or ())
        self.changes = {
            (layer, "residual"): lambda hidden, layer=layer: self._change(layer, hidden)
            for layer in edited
        }

    def _change(self, layer, hidden):  # [1, tokens, width]
        stream = hidden[0]
        if not self.backend.ignores_edits:
            for vector in self.request.vectors:
                if layer in vector.layers:
                    stream = _added(stream, vector, vector.vectors[vector.layers.index(layer)])
            stream = self._hooked(layer, stream)
        self.read[layer] = self.read.get(layer, 0) + len(stream)
        if layer in (self.request.residual_layers or ()):
            before = self.residual.get(layer, stream[:0])
            self.residual[layer] = torch.cat([before, stream])
        return stream[None]

    def _hooked(self, layer, stream):
        first = self.read.get(layer, 0)
        edited = stream.clone()
        chunks = list(range(0, len(stream), CHUNK))
        for number, start in enumerate(chunks):
            part = stream[start : start + CHUNK]
            batch = torch.cat([torch.zeros(OTHERS, stream.shape[1]), part])
            self.backend.metadata.clear()
            self.backend.metadata["model.layers.0"] = types.SimpleNamespace(
                query_start_loc=torch.tensor([0, OTHERS, OTHERS + len(part)]),
                seq_lens=torch.tensor([40, first + start + len(part)]),
            )
            for context, hook in zip(self.contexts, self.request.hooks, strict=True):
                if layer not in hook.layers or (self.backend.skips_chunk and number == 1):
                    continue
                context.layer_idx = layer
                try:
                    result = hook.function(context, batch[OTHERS:])
                except Exception:
                    return stream
                if result is not None:
                    batch[OTHERS:] = result
            edited[start : start + CHUNK] = batch[OTHERS:]
        return edited


def _added(stream, vector, row):
    if vector.norm_match:
        row = row * (stream.norm(dim=-1, keepdim=True) / (row.norm() + 1e-6))
    return stream + vector.scale * row


def _part(part):
    if part["type"] != "image_url":
        return part
    content = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return {"type": "image", "image": Image.open(io.BytesIO(content))}
