"""The engine: responses of one model to many requests, with exact counts of the work."""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from calib.engine.activations import ReferenceLogits
from calib.engine.batches.batching import (
    PASS_TOKENS,
    Capacity,
    batch_rows,
    capacity_for,
    columns_for,
    group_rows,
    out_of_memory,
    plan_rows,
    rows_within,
)
from calib.engine.batches.decode_batch import DecodeBatch
from calib.engine.batches.decoding_speed import DecodingSpeed
from calib.engine.batches.fallback import decode_without_sharing
from calib.engine.batches.prefill import Prefilled
from calib.engine.batches.prompt_group import PromptGroup
from calib.engine.request import Decoding, DecodingRow, Request, Response, Stats
from calib.engine.sampling import Sampler, Stopping
from calib.engine.sharing import (
    SELFCHECK_TOKENS,
    Sharing,
    detect_sharing,
    require_same_tokens,
    selfcheck_sample,
)
from calib.models.load import VLM
from calib.util.errors import CalibError

JOIN_SHARE = 4
"""Rows join when 1/JOIN_SHARE of the slots are free: few large passes cost less than many small."""
JOIN_TOKENS = 2048
"""Rows with up to this many tokens in total always join together. A larger number would need
noticeable memory where keys and values of joining rows exist twice while they are copied."""

Joining = tuple[list[DecodingRow], Prefilled, list[int]]
"""Rows whose prompt is read, and the index of each in the prefill."""

NO_MEMORY = (
    "not even one row fits into memory. Use a smaller model or a narrower dtype "
    "(model.dtype=bfloat16), or spread the model over devices with model.device_map=auto."
)


class Engine:
    """Generates responses with one model and one set of decoding settings."""

    def __init__(self, vlm: VLM, decoding: Decoding, selfcheck: bool = True) -> None:
        """With ``selfcheck`` the first rows are compared with plain ``generate``."""
        self.vlm, self.decoding = vlm, decoding
        self.sampler = Sampler(vlm, decoding)
        self.stats = Stats()
        self._sharing: dict[bool, Sharing] = {}  # by whether the prompt has images
        self._checked = not selfcheck
        self._limit = Capacity(decoding.batch_rows, PASS_TOKENS)  # lowered when memory runs out
        self.speed = DecodingSpeed(vlm, self.sampler)

    def with_decoding(self, decoding: Decoding) -> "Engine":
        """An engine of the same model with other decoding settings."""
        return Engine(self.vlm, decoding)

    @property
    def batch_rows(self) -> int:
        """Maximum number of rows in a batch, if memory allows: a property of the model, its device
        and the settings, not of the measured speed."""
        return batch_rows(self.vlm, self.decoding)

    @property
    def notes(self) -> list[str]:
        """Notes about how responses were computed, for the reader of a run."""
        notes = []
        for has_images, sharing in self._sharing.items():
            kind = "with images" if has_images else "without images"
            if sharing.reason:
                notes.append(f"prompts {kind} are read once per row: {sharing.reason}")
            elif sharing.first_fork:
                notes.append(
                    f"prompts {kind} are read once per row if they are edited before the output of "
                    f"layer {sharing.first_fork}: the model adds to the residual stream below it"
                )
        if self.vlm.feature_cache.repeated_passes:
            notes.append(
                f"images were encoded {self.vlm.feature_cache.repeated_passes} times more than "
                "once each: the features of all images do not fit into memory"
            )
        if self.stats.retries:
            notes.append(
                f"memory ran out {self.stats.retries} times and batches were made smaller; a "
                "smaller generation.batch_rows or generation.memory_gb avoids that"
            )
        return notes

    @torch.no_grad()
    def answer(
        self,
        requests: Sequence[Request],
        on_end: Callable[[], None] | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> list[Response]:
        """One response per request, in order.

        Requests for one example share its prompt only if they hold the same Example object.
        ``on_end`` is called once for each row that ends, and ``on_tokens`` with each number of new
        tokens; rows that are repeated for lack of memory count again.

        Raises CalibError if not even one row fits into memory, or if the self-check fails.
        """
        try:
            if self.decoding.sharing and not self._checked:
                self._selfcheck(requests)
            return self._answer(requests, on_end, on_tokens)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise CalibError("no-memory", NO_MEMORY) from error

    def _answer(
        self,
        requests: Sequence[Request],
        on_end: Callable[[], None] | None,
        on_tokens: Callable[[int], None] | None,
    ) -> list[Response]:
        most = self.decoding.max_new_tokens
        stopping = Stopping(self.vlm, self.sampler, most, on_end, on_tokens)
        rows = plan_rows(self.vlm, requests, self.decoding)
        shared = [row for row in rows if self.sharing(row).covers(row)]
        separate = [row for row in rows if not self.sharing(row).covers(row)]
        references = ReferenceLogits(self.vlm, self.stats) if self.decoding.kl else None
        self._within_memory(
            shared,
            references,
            lambda rows, capacity: self._decode_shared(rows, capacity, stopping, references),
        )
        self._within_memory(
            separate,
            references,
            lambda rows, capacity: decode_without_sharing(
                self.vlm, rows, capacity, stopping, references, self.stats
            ),
        )
        self.stats.rows += len(rows)
        self.stats.tokens += sum(len(row.tokens) for row in rows)
        return [stopping.response(row) for row in sorted(rows, key=lambda row: row.index)]

    def _selfcheck(self, requests: Sequence[Request]) -> None:
        """Compare a few shared responses with plain ``generate``, once per engine."""
        self._checked = True
        greedy = replace(self.decoding, temperature=0.0, max_new_tokens=SELFCHECK_TOKENS)
        engine = Engine(self.vlm, greedy, selfcheck=False)
        sample = selfcheck_sample(requests)
        for request, response in zip(sample, engine.answer(sample), strict=True):
            require_same_tokens(self.vlm, request, response)

    def sharing(self, row: DecodingRow) -> Sharing:
        """The computation that rows with this row's kind of prompt can share."""
        has_images = row.prompt.has_image
        if has_images not in self._sharing:
            counting = self.sampler.length_processor
            if not self.decoding.sharing:
                sharing = Sharing("generation.sharing=false")
            elif counting:
                sharing = Sharing(f"the generation settings use {counting}, which counts padding")
            else:
                sharing = detect_sharing(self.vlm, row.prompt)
            self._sharing[has_images] = sharing
        return self._sharing[has_images]

    def _within_memory(
        self,
        rows: Sequence[DecodingRow],
        references: ReferenceLogits | None,
        decode: Callable[[Sequence[DecodingRow], Capacity], None],
    ) -> None:
        """Decode all rows, with a smaller capacity each time that memory runs out."""
        while unfinished := [row for row in rows if row.finish is None]:
            columns = columns_for(unfinished, self.decoding.max_new_tokens)
            capacity = capacity_for(self.vlm, self.decoding, columns)
            capacity = Capacity(
                min(capacity.rows, self._limit.rows, len(unfinished)),
                min(capacity.tokens, self._limit.tokens),
            )
            for row in unfinished:
                row.restart()
            try:
                if references:
                    references.read(unfinished, capacity)
                decode(unfinished, capacity)
                continue
            except RuntimeError as error:  # includes torch.OutOfMemoryError
                if not out_of_memory(error):
                    raise
            # Outside the except clause, because its traceback keeps the batch alive.
            self.stats.retries += 1
            if capacity.rows == capacity.tokens == 1:
                raise CalibError("no-memory", NO_MEMORY)
            self._limit = Capacity(max(1, capacity.rows // 2), max(1, capacity.tokens // 2))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _decode_shared(
        self,
        rows: Sequence[DecodingRow],
        capacity: Capacity,
        stopping: Stopping,
        references: ReferenceLogits | None,
    ) -> None:
        """Decode rows that share computation: read prompts and step until all rows have ended."""
        columns = columns_for(rows, self.decoding.max_new_tokens)
        slots = self.rows_in_flight(rows, len(rows))
        batch = DecodeBatch(self.vlm, stopping, slots, columns, self.stats)
        # Passes are the same for any number of slots, so that the last digits of KL are too.
        max_joining = max(capacity.rows // JOIN_SHARE, JOIN_TOKENS // columns, 1)
        max_joining = min(max_joining, capacity.rows)
        started = 0
        waiting: deque[list[list[DecodingRow]]] = deque()
        for has_images in (False, True):  # sharing differs between them
            kind = [row for row in rows if row.prompt.has_image == has_images]
            waiting += group_rows(kind, capacity, bool(kind) and self.sharing(kind[0]).single_pass)
        group: PromptGroup | None = None
        joining: Joining | None = None
        while waiting or group or joining or batch.rows:
            if (waiting or group or joining) and batch.free * JOIN_SHARE >= slots:
                if joining is None:
                    if group is None:
                        passes = waiting.popleft()
                        single_pass = self.sharing(passes[0][0]).single_pass
                        group = PromptGroup(
                            self.vlm, passes, single_pass, references, self.stats, capacity.rows
                        )
                    # The first rows fill the batch in one pass: they need no time to be waited for.
                    most = max(max_joining, capacity.rows - started)
                    joining = group.take(most, batch.place)
                    started += len(joining[0])
                    group = group if group.waiting else None
                taken, prefilled, index = joining
                free = batch.free
                batch.join(taken[:free], prefilled, index[:free])
                joining = (taken[free:], prefilled, index[free:]) if taken[free:] else None
            else:
                batch.step()

    def rows_in_flight(self, rows: Sequence[DecodingRow], count: int) -> int:
        """Number of ``count`` rows like ``rows`` that decode together: those of a batch, or as many
        as decode fastest.

        In narrow dtypes a response depends slightly on the rows beside it, so their number is not
        left to a measurement.
        """
        columns = columns_for(rows, self.decoding.max_new_tokens)
        limit = min(self._limit.rows, count)
        usual = min(capacity_for(self.vlm, self.decoding, columns).rows, limit)
        most = min(rows_within(self.vlm, self.decoding, columns), limit)
        if most <= usual or self.vlm.model.dtype != torch.float32:
            return usual
        return self.speed.fastest(rows[-1], usual, most, columns)


def generate(vlm: VLM, requests: Sequence[Request], decoding: Decoding) -> list[Response]:
    """Responses to some requests. For repeated calls, keep an Engine instead."""
    return Engine(vlm, decoding).answer(requests)
