"""Responses that are not finite: those of an edit that is too strong, and those that it infects.

Such an edit makes keys and values NaN. vLLM does not clear its cache when they are freed, and its
attention multiplies the unused rest of a block by zero, which leaves NaN as it is: the next request
in the block is not finite either, whatever its edits are. So requests that were not finite are sent
again, without the others and after the cache is cleaned, until each is finite or is alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from calib.engine.vllm.hook_code import CLEANED, ERROR, cleaning_function
from calib.engine.vllm.request import (
    NOT_FINITE,
    RESTART,
    Backend,
    Completion,
    Hook,
    VllmRequest,
)
from calib.util.errors import CalibError


def complete_finite(
    backend: Backend, requests: Sequence[VllmRequest], window: int, layers: int
) -> Iterator[tuple[int, Completion]]:
    """Completions as ``backend.complete`` yields them, where NOT_FINITE is the request's own doing.

    ``layers`` is the number of decoder blocks. Leaves a cache without values that are not finite.

    Raises CalibError as ``backend.complete`` does; and (not-finite) if a response is not finite and
    the cache cannot be cleaned, because the server does not take hooks or has a quantized cache.
    """
    suspects = []
    for index, completion in backend.complete(requests, window):
        if completion.finish == NOT_FINITE:
            suspects.append(index)
        else:
            yield index, completion
    if suspects:
        yield from _settled(backend, requests, suspects, window, layers)
        _clean(backend, requests[suspects[0]], layers)


def _settled(
    backend: Backend,
    requests: Sequence[VllmRequest],
    indices: Sequence[int],
    window: int,
    layers: int,
) -> Iterator[tuple[int, Completion]]:
    """Completions of requests that were not finite, sent again in smaller and smaller groups."""
    _clean(backend, requests[indices[0]], layers)
    left = []
    for k, completion in backend.complete(_Chosen(requests, indices), window):
        if completion.finish == NOT_FINITE and len(indices) > 1:
            left.append(indices[k])
        else:
            yield indices[k], completion
    half = (len(left) + 1) // 2
    for part in (left[:half], left[half:]):
        if part:
            yield from _settled(backend, requests, part, window, layers)


def _clean(backend: Backend, like: VllmRequest, layers: int) -> None:
    """Clean vLLM's cache, by a request for one token with the prompt of ``like``."""
    if not backend.runs_hooks:
        raise CalibError(
            "not-finite",
            f"responses of vLLM are not finite, and nothing of them was recorded. {RESTART} On a "
            "server of your own, engine.hooks=true lets calib clean the cache and name the rows.",
        )
    # At every block, because each worker of a pipeline has only some of them.
    hook = Hook(cleaning_function(), tuple(range(layers)), pre=True)
    request = replace(
        like, max_tokens=1, vectors=(), hooks=(hook,), logprobs=None, residual_layers=None
    )
    for completion in backend.complete_everywhere(request):
        if not completion.saved.get(CLEANED):
            reason = completion.saved.get(ERROR, "it has no values that a hook can reach")
            raise CalibError(
                "not-finite",
                f"responses of vLLM are not finite, and its cache cannot be cleaned ({reason}). "
                f"{RESTART}",
            )


class _Chosen(Sequence[VllmRequest]):
    """Some of the requests, each built when it is sent."""

    def __init__(self, requests: Sequence[VllmRequest], indices: Sequence[int]) -> None:
        self.requests, self.indices = requests, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> VllmRequest:  # type: ignore[override]  # no slices
        return self.requests[self.indices[index]]
