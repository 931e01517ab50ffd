"""Answer rows: each computed once, and nothing computed twice.

    plan      rows of one prompt side by side, prompts of like length together   packing
    prefill   what rows share is read once, and forks where their edits differ   prefill, group
    decode    rows in flight take steps; who ends leaves, who waits joins        flight, cache
    finish    tokens become a response                                           here

What a model cannot share is answered row by row (unshared), and the engine's notes say so.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from calib.engine.choose import Chooser
from calib.engine.decoding import Asked, Decoding, Response
from calib.engine.flight import Flight
from calib.engine.group import Group
from calib.engine.packing import Room, columns_for, next_group, room_for, rows_in_flight
from calib.engine.row import Row, histories
from calib.engine.selfcheck import TOKENS, require_same, sample
from calib.engine.sharing import Sharing, sharing_of
from calib.engine.tally import Tally
from calib.engine.unshared import answer_unshared
from calib.errors import CalibError
from calib.vlm.load import VLM
from calib.vlm.prompts import Prompt, read_prompt

JOINING_SHARE = 4
"""Rows join once this part of the slots is free: few large passes cost less than many small."""


class Engine:
    """Answers rows with one model under one way of decoding."""

    def __init__(self, vlm: VLM, decoding: Decoding) -> None:
        self.vlm, self.decoding = vlm, decoding
        self.chooser = Chooser(vlm, decoding)
        self.tally = Tally()
        self._sharing: dict[bool, Sharing] = {}  # by whether the prompt has pictures
        self._landed: Callable[[], None] | None = None
        self._checked = False

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
                    f"prompts {kind} are read once per row where they are edited before layer "
                    f"{sharing.first}: the model adds to the residual stream there"
                )
        if self.tally.retries:
            found.append(
                f"memory ran out {self.tally.retries} times and batches were made smaller; fewer "
                "generation.batch_rows or less generation.memory_gb avoid that"
            )
        return found

    @torch.no_grad()
    def answer(
        self, asked: Sequence[Asked], landed: Callable[[], None] | None = None
    ) -> list[Response]:
        """One response per row, in their order. Rows of one example should hold the same object.

        ``landed`` is called for every row that has ended.

        Raises CalibError when not even one row fits into memory.
        """
        if self.decoding.sharing and not self._checked:
            self._check(asked)
        self._landed = landed
        rows = self._plan(asked)
        shared = [row for row in rows if self._shares(row)]
        apart = [row for row in rows if not self._shares(row)]
        self._complete(shared, self._fly)
        self._complete(apart, lambda rows, room: answer_unshared(self, rows, room))
        self.tally.rows += len(rows)
        self.tally.tokens += sum(len(row.tokens) for row in rows)
        return [self._response(row) for row in sorted(rows, key=lambda row: row.index)]

    def _check(self, asked: Sequence[Asked]) -> None:
        """Compare a few shared responses with plain ones, once, before anything relies on them."""
        self._checked = True
        few = replace(self.decoding, temperature=0.0, max_new_tokens=TOKENS)
        probe = Engine(self.vlm, few)
        probe._checked = True
        some = sample(asked)
        for one, response in zip(some, probe.answer(some), strict=True):
            require_same(self.vlm, one, response)

    def _plan(self, asked: Sequence[Asked]) -> list[Row]:
        """Rows by length of their prompts; of one prompt, the unedited row comes first."""
        prompts: dict[int, tuple[int, Prompt]] = {}
        rows = []
        for index, one in enumerate(asked):
            if id(one.example) not in prompts:
                prompts[id(one.example)] = (index, read_prompt(self.vlm, one.example))
            prompt = prompts[id(one.example)][1]
            # Edits at image tokens are none where there is no picture.
            plain = not bool(prompt.image.any())
            edits = tuple(e for e in one.edits if not (plain and e.positions == "image"))
            seed = one.seed + self.decoding.seed if self.chooser.sampled else None
            rows.append(Row(index, prompt, edits, seed, one.certain))
        order = {id(prompt): first for first, prompt in prompts.values()}
        return sorted(
            rows,
            key=lambda r: (len(r.prompt.tokens), order[id(r.prompt)], bool(r.edits), r.index),
        )

    def sharing(self, row: Row) -> Sharing:
        """What rows like this one can share."""
        pictures = row.prompt.pictured
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

    def _shares(self, row: Row) -> bool:
        return self.sharing(row).covers(row)

    def _complete(
        self, rows: Sequence[Row], answered: Callable[[Sequence[Row], Room], None]
    ) -> None:
        """Answer all rows, in smaller batches each time that memory runs out."""
        while left := [row for row in rows if row.finish is None]:
            room = room_for(self.vlm, self.decoding, columns_for(left, self._most))
            for _ in range(self.tally.retries):
                if not room.halve():
                    raise CalibError(
                        "not even one row fits into memory. Use a smaller model or a narrower "
                        "type (model.dtype=bfloat16), or spread it with model.device_map=auto."
                    )
            for row in left:
                row.restart()
            try:
                answered(left, room)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
            else:
                continue
            # Outside of the handler, whose traceback would keep the batch alive.
            self.tally.retries += 1
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @property
    def _most(self) -> int:
        return self.decoding.max_new_tokens

    def _fly(self, rows: Sequence[Row], room: Room) -> None:
        """Answer rows that share: read, join, step until all have landed."""
        slots = min(room.slots, len(rows))
        flight = Flight(self.vlm, self.chooser, slots, columns_for(rows, self._most), self.tally)
        waiting = deque(self._groups(rows, room))
        group: Group | None = None
        while waiting or group or flight.rows:
            if (waiting or group) and flight.free * JOINING_SHARE >= slots:
                if group is None:
                    some = waiting.popleft()
                    group = Group(self.vlm, some, self.sharing(some[0]).whole, self.tally)
                self._join(flight, group, min(flight.free, -(-slots // JOINING_SHARE)))
                group = group if group.waiting else None
            else:
                flight.step()
                flight.leave([k for k, row in enumerate(flight.rows) if self.ended(row)])

    def _groups(self, rows: Sequence[Row], room: Room) -> Iterator[list[Row]]:
        for pictures in (False, True):  # what they share differs
            left = [row for row in rows if row.prompt.pictured == pictures]
            while left:
                count = next_group(left, room, self.sharing(left[0]).whole)
                yield left[:count]
                left = left[count:]

    def _join(self, flight: Flight, group: Group, count: int) -> None:
        """Choose the first tokens of the group's next rows; those with more to say fly on."""
        rows, read, places = group.take(count)
        states = torch.tensor([read.state_of[k] for k in places], device=read.logits.device)
        self.first_tokens(rows, read.logits[states])
        flying = [k for k, row in enumerate(rows) if not self.ended(row)]
        flight.join([rows[k] for k in flying], read, [places[k] for k in flying])

    def first_tokens(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Write the first token of rows. # [rows, vocabulary]"""
        history = histories(rows, self.vlm) if self.chooser.wants_history else None
        chosen = self.chooser.choose(
            self.chooser.processed(history, logits), [row.generator for row in rows]
        )
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.tokens.append(token)

    def ended(self, row: Row) -> bool:
        """Whether a row has said its last token; sets how it ended."""
        if row.tokens[-1] < 0:
            row.finish = "not_finite"
        elif row.tokens[-1] in self.chooser.ends:
            row.finish = "stop"
        elif len(row.tokens) == self.decoding.max_new_tokens:
            row.finish = "length"
        elif row.certain is not None and row.certain(self._text(row)):
            row.finish = "cut"
        if row.finish is not None and self._landed is not None:
            self._landed()
        return row.finish is not None

    def _text(self, row: Row) -> str:
        return self.vlm.processor.tokenizer.decode(row.tokens, skip_special_tokens=True).strip()

    def _response(self, row: Row) -> Response:
        assert row.finish is not None
        tokens = tuple(token for token in row.tokens if token >= 0)
        text = self.vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return Response(text, tokens, row.finish, row.kl)


def _out_of_memory(error: Exception) -> bool:
    # The CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def generate(vlm: VLM, asked: Sequence[Asked], decoding: Decoding) -> list[Response]:
    """Answer some rows; for many calls with one model, keep an Engine."""
    return Engine(vlm, decoding).answer(asked)
