"""Detect the computation that rows of a prompt can share in a model, and verify it on a few rows.

Detection watches one forward pass through the decoder. The self-check compares a few shared
responses with transformers' own ``generate``: one row at a time, one hook per edited site, nothing
of the engine but the operators' formulas.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from calib.engine.batches.prefix_sharing import BATCH_AXES
from calib.engine.edits import reach
from calib.engine.operators import in_float32
from calib.engine.request import DecodingRow, Request, Response
from calib.models.layers import LayerSite, decoder_layers, edit_activations
from calib.models.load import VLM
from calib.models.prompt_batch import PromptBatch, collate, prompt_positions
from calib.models.prompts import Prompt, read_prompt
from calib.util.errors import CalibError

SELFCHECK_TOKENS = 4
"""Tokens of each row that the self-check compares."""
TIE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Tokens whose scores differ by less than this share of the scores' standard deviation count as
equally likely. In narrow dtypes, a row's scores depend slightly on the batch."""


@dataclass
class Sharing:
    """The computation that rows of one kind of prompt (with or without images) can share."""

    reason: str | None = None
    """Reason why rows share nothing; None if they share."""
    single_pass: bool = False
    """Prompt tokens attend to later tokens, so the prompt is read in a single pass."""
    first_fork: int = 0
    """Rows can fork within the prompt only after this layer, because the model adds something to
    the residual stream between two blocks below it. 0: rows can fork at any layer."""

    def covers(self, row: DecodingRow) -> bool:
        """Whether the engine's shared path can run this row."""
        if self.reason is not None:
            return False
        if self.first_fork == 0 or not row.forks_before_last():
            return True
        return min(edit.forks_at for edit in row.edits) > self.first_fork


def detect_sharing(vlm: VLM, prompt: Prompt) -> Sharing:
    """Detect the computation that rows of prompts like this one can share."""
    config = vlm.model.config.get_text_config(decoder=True)
    caches = {type(layer) for layer in DynamicCache(config=config).layers}
    if caches - {DynamicLayer, DynamicSlidingWindowLayer}:
        return Sharing("its blocks cache something other than keys and values")
    probe = _DecoderProbe(decoder_layers(vlm.model))
    with probe.hooks():
        vlm.model.base_model(
            **collate(vlm, [prompt]).inputs,
            position_ids=prompt.position_ids.unsqueeze(-2),
            use_cache=False,
        )
    skipped = sorted(set(range(len(probe.layers))) - set(probe.called))
    if skipped:
        listed = ", ".join(map(str, skipped))
        return Sharing(f"it skips its blocks {listed} for them, and edits there have no effect")
    if probe.called != list(range(len(probe.layers))):
        return Sharing("its blocks are not called once each and in order")
    if probe.unknown:
        return Sharing(f"its decoder blocks take {', '.join(sorted(probe.unknown))} by row")
    return Sharing(None, probe.looks_ahead, probe.first_fork)


class _DecoderProbe:
    """Records how the blocks of a decoder are called during one pass."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        self.layers = layers
        self.called: list[int] = []
        self.unknown: set[str] = set()
        self.looks_ahead = False
        self.first_fork = 0
        self._output: torch.Tensor | None = None

    def hooks(self) -> ExitStack:
        """Hooks on all blocks; closing the stack removes them."""
        stack = ExitStack()
        for index, layer in enumerate(self.layers):
            hook = layer.register_forward_pre_hook(self._before_block(index), with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(layer.register_forward_hook(self._after_block).remove)
        return stack

    def _before_block(self, index: int) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.called.append(index)
            hidden = args[0] if args else kwargs.get("hidden_states")
            output = self._output
            if output is not None and hidden is not output and not torch.equal(hidden, output):
                self.first_fork = index
            by_row = {name for name, value in kwargs.items() if _has_row_axis(value)}
            self.unknown |= by_row - BATCH_AXES.keys() - {"hidden_states"}
            self.unknown |= {"a positional tensor" for value in args[1:] if _has_row_axis(value)}
            self.looks_ahead |= _looks_ahead(kwargs.get("attention_mask"))

        return hook

    def _after_block(self, module: Any, args: Any, output: Any) -> None:
        self._output = output if torch.is_tensor(output) else output[0]


def _has_row_axis(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_has_row_axis(part) for part in value)
    return torch.is_tensor(value) and value.dim() > 0


def _looks_ahead(mask: Any) -> bool:
    """Whether a token before the last one may attend to the last. # [rows, heads, from, to]"""
    if not torch.is_tensor(mask) or mask.dim() != 4 or mask.shape[-2] < 2:
        return False
    ahead = mask[..., :-1, -1]
    return bool(ahead.any() if ahead.dtype == torch.bool else (ahead > -1).any())


def selfcheck_sample(requests: Sequence[Request]) -> list[Request]:
    """A few requests to compare: unedited and edited, of a prompt with and one without an image."""
    chosen: list[Request] = []
    for has_image in (True, False):
        kind = [r for r in requests if (r.example.picture is not None) == has_image]
        of_prompt = [request for request in kind if request.example is kind[0].example]
        edited = [request for request in of_prompt if request.edits]
        chosen += [request for request in of_prompt if not request.edits][:1]
        chosen += [edited[k] for k in sorted({0, len(edited) // 2, len(edited) - 1}) if edited]
    return [replace(request, is_final=None, reference=None) for request in chosen]


def require_same_tokens(vlm: VLM, request: Request, response: Response) -> None:
    """Raise CalibError unless a shared response starts with the tokens of plain ``generate``.

    The response must have SELFCHECK_TOKENS tokens or have ended before.
    """
    difference = first_difference(vlm, request, response, SELFCHECK_TOKENS)
    if difference is not None and not difference.is_tie:
        raise CalibError(
            "self-check",
            f"{type(vlm.model).__name__}: {difference} when rows share a prompt and "
            f"{difference.expected} when it runs alone. Nothing was recorded. Use "
            "generation.sharing=false, which shares nothing and is slower, and please report this "
            "with the versions of calib and transformers.",
        )


@dataclass(frozen=True)
class Difference:
    """The first token of a response that plain ``generate`` chooses otherwise."""

    request: Request
    step: int
    token: int
    expected: int
    is_tie: bool
    """Whether both tokens are equally likely; after a tie, the two responses may differ."""

    def __str__(self) -> str:
        edits = ", ".join(
            f"{e.operator.name} at {e.site} of layer {e.layer}, {e.positions}"
            for e in self.request.edits
        )
        return (
            f"token {self.step + 1} of example '{self.request.example.id}' "
            f"({edits or 'unedited'}) is {self.token}"
        )


def first_difference(
    vlm: VLM, request: Request, response: Response, most: int, ties: float = 1.0
) -> Difference | None:
    """The first difference between a response and plain ``generate``; None if there is none in the
    first ``most`` tokens, or if the response is not finite, which is reported with the row.

    ``ties`` multiplies the difference of scores that counts as none.
    """
    if response.finish == "not_finite":
        return None
    plain, scores = plain_tokens(vlm, request, min(most, len(response.tokens)))
    for step, (token, expected) in enumerate(zip(response.tokens, plain, strict=False)):
        if token != expected:
            finite = scores[step][scores[step].isfinite()]
            margin = scores[step][expected] - scores[step][token]
            tie = ties * TIE.get(vlm.model.dtype, TIE[torch.float32]) * finite.std()
            return Difference(request, step, token, expected, bool(margin <= tie))
    return None


@torch.no_grad()
def plain_tokens(vlm: VLM, request: Request, count: int) -> tuple[list[int], list[torch.Tensor]]:
    """First tokens by transformers' own greedy ``generate``, and the scores of each step.

    # [steps], [steps][vocabulary]
    """
    batch = collate(vlm, [read_prompt(vlm, request.example)])
    with editing_one_row(vlm, request, batch):
        output = vlm.model.generate(
            **batch.inputs,
            max_new_tokens=count,
            do_sample=False,
            num_beams=1,
            output_scores=True,
            return_dict_in_generate=True,
        )
    tokens = output.sequences[0, batch.tokens.shape[1] :].tolist()
    return tokens, [scores[0].float() for scores in output.scores]


@contextmanager
def editing_one_row(vlm: VLM, request: Request, batch: PromptBatch) -> Iterator[None]:
    """Apply a request's edits in one call of ``generate`` for its prompt alone."""
    prompt_read: set[LayerSite] = set()

    def change_at(at: LayerSite, hidden: torch.Tensor) -> torch.Tensor:
        reading_prompt = at not in prompt_read
        prompt_read.add(at)
        for edit in request.edits:
            if edit.at != at or not (reading_prompt or reach(edit.positions)[2]):
                continue
            tensors = [t.to(hidden.device)[None, None] for t in edit.operator.tensors()]
            new = in_float32(edit.operator.formula, hidden, tensors)
            if reading_prompt:
                mask = prompt_positions(batch, edit.positions).to(hidden.device)
                new = torch.where(mask[..., None], new, hidden)
            hidden = new
        return hidden

    changes = {edit.at: partial(change_at, edit.at) for edit in request.edits}
    with edit_activations(vlm.model, changes):
        yield
