"""Compare a few shared responses with plain ones before a run relies on sharing.

The plain way is transformers' own generate, one row at a time, with one hook per edited site and
nothing of the engine but the operators' formulas.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from calib.engine.edits import REACH
from calib.engine.request import Request, Response
from calib.models.layers import LayerSite, edit_activations
from calib.models.load import VLM
from calib.models.prompt_batch import collate, prompt_positions
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError

TOKENS = 4
"""Tokens compared of each row."""
TIE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""By how much of the scores' standard deviation two tokens may differ and still count as equally
likely: in narrow types the same row has other last digits alone than in a batch."""


def sample(asked: Sequence[Request]) -> list[Request]:
    """A few rows to compare: a prompt with a picture and one without, unedited and edited."""
    chosen: list[Request] = []
    for pictured in (True, False):
        kind = [one for one in asked if (one.example.picture is not None) == pictured]
        rows = [one for one in kind if one.example is kind[0].example]
        edited = [one for one in rows if one.edits]
        chosen += [one for one in rows if not one.edits][:1]
        chosen += [edited[k] for k in sorted({0, len(edited) // 2, len(edited) - 1}) if edited]
    return [replace(one, is_final=None, base=None) for one in chosen]


def require_same(vlm: VLM, one: Request, response: Response) -> None:
    """Raise CalibError unless a response of the engine is what plain generate says.

    The response is at least as long as TOKENS, or has ended by itself.
    """
    if response.finish == "not_finite":
        return  # said where it is recorded
    alone, scores = plain_tokens(vlm, one, min(TOKENS, len(response.tokens)))
    for step, (ours, theirs) in enumerate(zip(response.tokens, alone, strict=True)):
        if ours == theirs:
            continue
        finite = scores[step][scores[step].isfinite()]
        behind = scores[step][theirs] - scores[step][ours]
        if behind <= TIE.get(vlm.model.dtype, TIE[torch.float32]) * finite.std():
            return  # a tie: from here on both go their own ways
        edits = ", ".join(
            f"{e.operator.name} at {e.site} of layer {e.layer}, {e.positions}" for e in one.edits
        )
        raise CalibError(
            f"{type(vlm.model).__name__}: example '{one.example.id}' ({edits or 'unedited'}) gets "
            f"another token {step + 1} when rows share a prompt ({ours}) than alone ({theirs}). "
            "Nothing was recorded. With generation.sharing=false rows share nothing, which is "
            "slower; please report this with the versions of calib and transformers."
        )


@torch.no_grad()
def plain_tokens(vlm: VLM, one: Request, count: int) -> tuple[list[int], list[torch.Tensor]]:
    """The row's first tokens by plain greedy generate, and the scores they were chosen by.

    # [steps][vocabulary]
    """
    batch = collate(vlm, [read_prompt(vlm, one.example)])
    begun: set[LayerSite] = set()

    def change_at(at: LayerSite, hidden: torch.Tensor) -> torch.Tensor:
        prompt = at not in begun
        begun.add(at)
        for edit in one.edits:
            if edit.at != at or not (prompt or REACH[edit.positions][2]):
                continue
            tensors = [t.to(hidden)[None, None] for t in edit.operator.tensors()]
            new = edit.operator.formula(hidden, *tensors)
            if prompt:
                where = prompt_positions(batch, edit.positions).to(hidden.device)
                new = torch.where(where[..., None], new, hidden)
            hidden = new
        return hidden

    with edit_activations(vlm.model, {edit.at: partial(change_at, edit.at) for edit in one.edits}):
        found = vlm.model.generate(
            **batch.inputs,
            max_new_tokens=count,
            do_sample=False,
            num_beams=1,
            output_scores=True,
            return_dict_in_generate=True,
        )
    tokens = found.sequences[0, batch.tokens.shape[1] :].tolist()
    return tokens, [scores[0].float() for scores in found.scores]
