"""What a run of the engine computed, in exact counts that no clock disturbs."""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from calib.engine.batching import (
    PASS_TOKENS,
    Room,
    columns_for,
    groups,
    plan,
    room_for,
    rows_in_flight,
)
from calib.engine.decode_batch import DecodeBatch, PromptGroup
from calib.engine.fallback import answer_without_sharing
from calib.engine.reference_logits import ReferenceLogits
from calib.engine.request import Decoding, DecodingRow, Request, Response, Stats
from calib.engine.sampling import Sampler, Stopping
from calib.engine.selfcheck import TOKENS, require_same, sample
from calib.engine.sharing import Sharing, sharing_of
from calib.models.load import VLM
from calib.util.errors import CalibError

JOINING_SHARE = 4
"""Rows join once this part of the slots is free: few large passes cost less than many small."""
FEW_TOKENS = 2048
"""Rows of so many tokens join at once in any case; more would matter in memory, as the keys and
values of joining rows are there twice for a moment."""

NO_ROOM = (
    "not even one row fits into memory. Use a smaller model or a narrower type "
    "(model.dtype=bfloat16), or spread it with model.device_map=auto."
)


class Engine:
    """Answers rows with one model under one way of decoding."""

    def __init__(self, vlm: VLM, decoding: Decoding) -> None:
        self.vlm, self.decoding = vlm, decoding
        self.chooser = Sampler(vlm, decoding)
        self.tally = Stats()
        self._sharing: dict[bool, Sharing] = {}  # by whether the prompt has pictures
        self._checked = False
        self._most = Room(decoding.batch_rows, PASS_TOKENS)  # less once memory has run out

    @property
    def rows_in_flight(self) -> int:
        """Rows that may be in flight at once, memory allowing."""
        return rows_in_flight(self.vlm, self.decoding)

    @property
    def notes(self) -> list[str]:
        """What a reader of the run should know about how it was computed."""
        found = []
        for pictures, sharing in self._sharing.items():
            kind = "with pictures" if pictures else "without pictures"
            if sharing.reason:
                found.append(f"prompts {kind} are read once per row: {sharing.reason}")
            elif sharing.first:
                found.append(
                    f"prompts {kind} are read once per row where they are edited before the output "
                    f"of layer {sharing.first}: the model adds to the residual stream below"
                )
        if self.vlm.feature_cache.repeated_passes:
            found.append(
                f"pictures went through the vision tower "
                f"{self.vlm.feature_cache.repeated_passes} times more than "
                "once each: their features do not all fit into memory"
            )
        if self.tally.retries:
            found.append(
                f"memory ran out {self.tally.retries} times and batches were made smaller; fewer "
                "generation.batch_rows or less generation.memory_gb avoid that"
            )
        return found

    @torch.no_grad()
    def answer(
        self, asked: Sequence[Request], landed: Callable[[], None] | None = None
    ) -> list[Response]:
        """One response per row, in their order. Rows of one example should hold the same object.

        ``landed`` is called for every row that has ended.

        Raises CalibError when not even one row fits into memory.
        """
        try:
            if self.decoding.sharing and not self._checked:
                self._check(asked)
            return self._answer(asked, landed)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise CalibError(NO_ROOM) from error

    def _answer(
        self, asked: Sequence[Request], landed: Callable[[], None] | None
    ) -> list[Response]:
        finish = Stopping(self.vlm, self.chooser, self.decoding.max_new_tokens, landed)
        rows = plan(self.vlm, asked, self.decoding)
        shared = [row for row in rows if self.sharing(row).covers(row)]
        apart = [row for row in rows if not self.sharing(row).covers(row)]
        bases = ReferenceLogits(self.vlm, self.tally) if self.decoding.kl else None
        self._complete(shared, bases, lambda rows, room: self._fly(rows, room, finish, bases))
        self._complete(
            apart,
            bases,
            lambda rows, room: answer_without_sharing(
                self.vlm, rows, room, finish, bases, self.tally
            ),
        )
        self.tally.rows += len(rows)
        self.tally.tokens += sum(len(row.tokens) for row in rows)
        return [finish.response(row) for row in sorted(rows, key=lambda row: row.index)]

    def _check(self, asked: Sequence[Request]) -> None:
        """Compare a few shared responses with plain ones, once, before anything relies on them."""
        self._checked = True
        few = replace(self.decoding, temperature=0.0, max_new_tokens=TOKENS)
        probe = Engine(self.vlm, few)
        probe._checked = True
        some = sample(asked)
        for one, response in zip(some, probe.answer(some), strict=True):
            require_same(self.vlm, one, response)

    def sharing(self, row: DecodingRow) -> Sharing:
        """What rows like this one can share."""
        pictures = row.prompt.has_image
        if pictures not in self._sharing:
            counting = self.chooser.counts_length
            if not self.decoding.sharing:
                found = Sharing("generation.sharing=false")
            elif counting:
                found = Sharing(f"the generation settings ask for {counting}, which counts padding")
            else:
                found = sharing_of(self.vlm, row.prompt)
            self._sharing[pictures] = found
        return self._sharing[pictures]

    def _complete(
        self,
        rows: Sequence[DecodingRow],
        bases: ReferenceLogits | None,
        answered: Callable[[Sequence[DecodingRow], Room], None],
    ) -> None:
        """Answer all rows, in smaller batches each time that memory runs out."""
        while left := [row for row in rows if row.finish is None]:
            columns = columns_for(left, self.decoding.max_new_tokens)
            room = room_for(self.vlm, self.decoding, columns)
            room = Room(
                min(room.slots, self._most.slots, len(left)), min(room.tokens, self._most.tokens)
            )
            for row in left:
                row.restart()
            try:
                if bases:
                    bases.read(left, room)
                answered(left, room)
                continue
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not _out_of_memory(error):
                    raise
            # Outside of the handler, whose traceback would keep the batch alive.
            self.tally.retries += 1
            if room.slots == room.tokens == 1:
                raise CalibError(NO_ROOM)
            self._most = Room(max(1, room.slots // 2), max(1, room.tokens // 2))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _fly(
        self,
        rows: Sequence[DecodingRow],
        room: Room,
        finish: Stopping,
        bases: ReferenceLogits | None,
    ) -> None:
        """Answer rows that share: read, join, step until all have landed."""
        slots = room.slots
        columns = columns_for(rows, self.decoding.max_new_tokens)
        flight = DecodeBatch(self.vlm, finish, slots, columns, self.tally)
        joining = max(slots // JOINING_SHARE, FEW_TOKENS // columns, 1)
        waiting: deque[list[list[DecodingRow]]] = deque()
        for pictured in (False, True):  # what they share differs
            kind = [row for row in rows if row.prompt.has_image == pictured]
            waiting += groups(kind, room, bool(kind) and self.sharing(kind[0]).whole)
        group: PromptGroup | None = None
        while waiting or group or flight.rows:
            if (waiting or group) and flight.free * JOINING_SHARE >= slots:
                if group is None:
                    parts = waiting.popleft()
                    whole = self.sharing(parts[0][0]).whole
                    group = PromptGroup(self.vlm, parts, whole, bases, self.tally)
                flight.join(*group.take(min(flight.free, joining)))
                group = group if group.waiting else None
            else:
                flight.step()


def _out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def generate(vlm: VLM, asked: Sequence[Request], decoding: Decoding) -> list[Response]:
    """Answer some rows; for many calls with one model, keep an Engine."""
    return Engine(vlm, decoding).answer(asked)
