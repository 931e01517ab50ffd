"""Read the unedited model: activations of decoder blocks, and first-token logits for KL.

Activations are read with our own forward hooks, never with ``output_hidden_states``: in
transformers 5, whether those include an edit depends on the order in which hooks were registered.
Each hook keeps one vector per prompt, so memory does not grow with the prompt length, and the
forward pass ends after the last layer that is read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any

import torch

from calib.config.choices import Site
from calib.data.example import Example
from calib.engine.batches.batching import PASS_TOKENS, Capacity
from calib.engine.request import DecodingRow, Stats
from calib.models.layers import hook_at, layers_with, site_width
from calib.models.load import VLM
from calib.models.prompt_batch import collate, read_tokens
from calib.models.prompts import Prompt, read_prompts
from calib.util.errors import CalibError

PROMPTS = 256
"""Maximum number of prompts whose image features are in memory at once."""

PADDING = 0.1
"""Maximum share of padding tokens in a pass. Splitting a batch further would cost more time for the
extra pass than it saves on padding."""


class _LastLayerRead(Exception):
    """Ends a forward pass after the last layer that is read."""


@torch.no_grad()
def read_activations(
    vlm: VLM,
    examples: Sequence[Example],
    positions: str = "last_prompt",
    batch_rows: int = 64,
    progress: Any = None,
    layers: Sequence[int] | None = None,
    site: Site = "residual",
) -> torch.Tensor:
    """Activations at one site, averaged over the chosen positions of each prompt.

    ``layers`` are 0-based decoder blocks; None reads all that have the site. ``progress`` is an
    object with an ``update(n)`` method, such as a tqdm bar; n is the number of prompts just read.

    Returns float32 activations on the CPU. # [examples, layers, width of the site]

    Raises CalibError if an activation is not finite or a prompt has no token at the positions.
    """
    layers = layers_with(vlm.model, site) if layers is None else list(layers)
    activations = torch.empty(len(examples), len(layers), site_width(vlm.model, site))
    for start in range(0, len(examples), PROMPTS):
        prompts = read_prompts(vlm, examples[start : start + PROMPTS])
        for indices in batches_by_length(prompts, batch_rows, PASS_TOKENS):
            rows = [start + k for k in indices]
            batch_examples = [examples[row] for row in rows]
            read = _read_batch(
                vlm, batch_examples, [prompts[k] for k in indices], positions, layers, site
            )
            require_finite(read, batch_examples, layers)
            activations[rows] = read
            if progress is not None:
                progress.update(len(rows))
    return activations


def batches_by_length(
    prompts: Sequence[Prompt], max_rows: int, max_tokens: int
) -> Iterator[list[int]]:
    """Indices of prompts of similar length, one list per forward pass.

    A batch has at least one prompt, and otherwise at most ``max_rows`` prompts, ``max_tokens``
    tokens including padding, and PADDING padding.
    """
    batch: list[int] = []
    tokens = 0
    for k in sorted(range(len(prompts)), key=lambda k: len(prompts[k].tokens)):
        length = len(prompts[k].tokens)
        padded = (len(batch) + 1) * length
        full = padded > max_tokens or len(batch) == max_rows
        full |= padded > (1 + PADDING) * (tokens + length)
        other_kind = batch and prompts[batch[0]].batch_key != prompts[k].batch_key
        if batch and (full or other_kind):
            yield batch
            batch, tokens = [], 0
        batch.append(k)
        tokens += length
    if batch:
        yield batch


def _read_batch(
    vlm: VLM,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    positions: str,
    layers: Sequence[int],
    site: Site,
) -> torch.Tensor:
    """Activations of one batch. # [rows, layers, width] float32"""
    batch = collate(vlm, prompts)
    mask = read_tokens(batch, positions)  # [rows, length]
    counts = mask.sum(1)
    if (counts == 0).any():
        example = examples[int((counts == 0).nonzero()[0])]
        raise no_tokens_to_read(example, positions)
    only_last = bool(mask[:, -1].all()) and bool((counts == 1).all())
    weights = None if only_last else mask.float() / counts[:, None]
    hooked = [layer for layer in layers_with(vlm.model, site) if layer <= max(layers)]
    with _reading(vlm, hooked, site, weights) as read, suppress(_LastLayerRead):
        vlm.model.base_model(**batch.inputs, position_ids=batch.position_ids, use_cache=False)
    for lower, layer in pairwise(hooked):
        # Mllama skips its cross-attention blocks for prompts without images: the residual stream
        # passes through unchanged, and the heads and the MLP add nothing.
        below = read[lower]
        read.setdefault(layer, below if site == "residual" else torch.zeros_like(below))
    return torch.stack([read[layer] for layer in layers], dim=1)


@contextmanager
def _reading(
    vlm: VLM, layers: Sequence[int], site: Site, weights: torch.Tensor | None
) -> Iterator[dict[int, torch.Tensor]]:
    """Record activations by layer in the yielded dictionary while the context is open.

    Tokens are averaged by ``weights``; None takes the last token. # [rows, length]
    """
    read: dict[int, torch.Tensor] = {}

    def hook_for(layer: int) -> Callable[[torch.Tensor], None]:
        def record(hidden: torch.Tensor) -> None:  # [rows, length, width]
            if weights is None:
                mean = hidden[:, -1]
            else:
                share = weights.to(hidden.device)
                # Activations at padding may be infinite, and 0 x inf is not 0.
                selected = hidden.float().masked_fill((share == 0)[..., None], 0.0)
                mean = torch.bmm(share[:, None], selected)[:, 0]
            # Copied: on the CPU a view would keep the whole [rows, length, width] tensor alive.
            read[layer] = mean.to("cpu", torch.float32, copy=True)
            if layer == max(layers):
                raise _LastLayerRead

        return record

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(hook_at(vlm.model, (layer, site), hook_for(layer)).remove)
        yield read


def no_tokens_to_read(example: Example, positions: str) -> CalibError:
    """The error for a prompt without tokens at ``positions``."""
    return CalibError(
        "too-few",
        f"example '{example.id}' has no {positions} tokens to read activations from. Choose "
        "other read_positions, or leave out examples without them.",
    )


def require_finite(read: torch.Tensor, examples: Sequence[Example], layers: Sequence[int]) -> None:
    """Raise CalibError (not-finite) unless all activations are finite.

    # [examples, layers, width]
    """
    not_finite = ~torch.isfinite(read).all(-1)  # [rows, layers]
    if not_finite.any():
        row, k = not_finite.nonzero()[0].tolist()
        raise CalibError(
            "not-finite",
            f"the activations of example '{examples[row].id}' are not finite at layer {layers[k]} "
            f"({int(not_finite.any(1).sum())} of {len(examples)} examples in this batch). Load the "
            "model with a wider dtype (model.dtype=float32 or bfloat16).",
        )


class ReferenceLogits:
    """First-token logits of unedited reference prompts, each read once.

    Rows name a reference prompt where KL is not measured against their own prompt.
    """

    def __init__(self, vlm: VLM, stats: Stats) -> None:
        self.vlm, self.stats = vlm, stats
        # By id() of the prompt; on the CPU and in the model's dtype to save memory. # [vocabulary]
        self._logits: dict[int, torch.Tensor] = {}

    def read(self, rows: Sequence[DecodingRow], capacity: Capacity) -> None:
        """Read the reference prompts of rows, except those read before.

        If memory runs out, call it again with a smaller capacity: prompts read so far are kept.
        """
        references = {id(row.reference): row.reference for row in rows if row.reference is not None}
        prompts = [prompt for key, prompt in references.items() if key not in self._logits]
        for indices in batches_by_length(prompts, capacity.rows, capacity.tokens):
            batch = collate(self.vlm, [prompts[k] for k in indices])
            logits = self.vlm.model(
                **batch.inputs, position_ids=batch.position_ids, use_cache=False, logits_to_keep=1
            ).logits[:, -1]
            for k, first in zip(indices, logits, strict=True):
                self._logits[id(prompts[k])] = first.to("cpu", copy=True)
            self.stats.prefill_token_layers += batch.tokens.numel() * self.vlm.num_layers

    def logits(self, row: DecodingRow) -> torch.Tensor:
        """First-token logits of a row's reference prompt. # [vocabulary] float32, on the CPU"""
        return self._logits[id(row.reference)].float()


def divergence(of: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
    """KL(of || against) in nats, from logits. # [..., vocabulary] -> [...] float64"""
    return _kl(_float64(of).log_softmax(-1), _float64(against).log_softmax(-1))


def divergences(edited: torch.Tensor, unedited: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(edited || unedited) and KL(unedited || edited) in nats, from logits.

    # [..., vocabulary] -> two of [...] float64
    """
    p, q = _float64(edited).log_softmax(-1), _float64(unedited).log_softmax(-1)
    return _kl(p, q), _kl(q, p)


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL from log-probabilities."""
    # Where both probabilities are 0, the term would be 0 x (-inf + inf). Other NaN stay: KL to or
    # from logits that are not finite is unknown.
    terms = (p.exp() * (p - q)).masked_fill_(p == -torch.inf, 0.0)
    return terms.sum(-1).clamp(min=0.0)


def _float64(values: torch.Tensor) -> torch.Tensor:
    """``values`` as float64, on the CPU if their device is an Apple GPU, which has no float64.

    Small divergences are differences of nearly equal numbers.
    """
    return (values.cpu() if values.device.type == "mps" else values).double()
