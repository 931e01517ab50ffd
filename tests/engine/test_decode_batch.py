"""Slots hold what a cache of each row's own would hold, whoever comes and goes."""

import random
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache

from calib.engine.batching import columns_for
from calib.engine.cache import ForkedLayer, Source
from calib.engine.decode_batch import DecodeBatch
from calib.engine.prefill import Read
from calib.engine.request import DecodingRow, Stats
from calib.models.prompts import Prompt

LAYERS, HEADS, WIDTH = 2, 2, 3
CPU = torch.device("cpu")


def row(index, length):
    tokens = torch.arange(length)
    return DecodingRow(index, Prompt(tokens, 100 + tokens, tokens < 0, (), {}, {}), ())


class Model:
    """A model of nothing but keys and values: each row's are drawn, and held once more in a
    DynamicCache of its own that every step's result is compared with."""

    def __init__(self, rows, slots, lives, broken=(), seed=0):
        """``lives`` has the tokens of each row; those of ``broken`` end in what is no number."""
        blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(LAYERS))
        self.get_decoder = lambda: SimpleNamespace(layers=blocks)
        text = SimpleNamespace(num_hidden_layers=LAYERS)
        self.config = SimpleNamespace(get_text_config=lambda decoder: text)
        self.generator = torch.Generator().manual_seed(seed)
        self.lives, self.broken, self.own = lives, broken, {}
        self.flight = DecodeBatch(
            SimpleNamespace(model=self, device=CPU, layers=LAYERS),
            self,
            slots,
            columns_for(rows, max(lives.values())),
            Stats(),
        )

    # What the flight asks of the part that chooses tokens and ends rows.

    def scores(self, rows, logits):
        return logits

    def write(self, rows, scores):
        for one in rows:
            one.tokens.append((one.index + 7 * len(one.tokens)) % 50)
        return torch.tensor([one.tokens[-1] for one in rows])

    def ended(self, one):
        return len(one.tokens) == self.lives[one.index]

    # What it asks of the model.

    def join(self, rows, padding=0):
        """Prompts as prefill reads them: rows share states, other ones in each layer."""
        length = max(len(one.prompt.tokens) for one in rows) + padding
        draw = random.Random(rows[0].index)
        held, states_of = [], []
        for one in rows:
            self.own[one.index] = DynamicCache()
        for layer in range(LAYERS):
            states = draw.randint(1, len(rows))
            keys, values = self.draw(states, length), self.draw(states, length)
            states_of.append([draw.randrange(states) for _ in rows])
            for one, state in zip(rows, states_of[-1], strict=True):
                mine = (slice(state, state + 1), slice(None), slice(-len(one.prompt.tokens), None))
                self.own[one.index].update(keys[mine], values[mine], layer)
            held.append((keys, values))
        read = Read(torch.zeros(1, 50), [0] * len(rows), held, states_of, length)
        self.flight.join(rows, read, list(range(len(rows))))

    def draw(self, rows, length):
        return torch.randn(rows, HEADS, length, WIDTH, generator=self.generator)

    def __call__(self, input_ids, attention_mask, position_ids, past_key_values, use_cache):
        rows = self.flight.rows
        assert past_key_values.get_seq_length() == attention_mask.shape[1] - 1
        assert input_ids[:, 0].tolist() == [one.tokens[-1] for one in rows]
        read = [len(one.prompt.tokens) + len(one.tokens) for one in rows]
        assert position_ids[:, 0].tolist() == [100 + length - 1 for length in read]
        failing = [
            one.index in self.broken and len(one.tokens) == self.lives[one.index] - 1
            for one in rows
        ]
        for layer in range(LAYERS):
            new = self.draw(len(rows), 1), self.draw(len(rows), 1)
            for part in new:
                part[failing] = float("nan")
            both = past_key_values.update(*new, layer)
            for k, one in enumerate(rows):
                own = self.own[one.index].update(*(part[k : k + 1] for part in new), layer)
                for found, expected in zip(both, own, strict=True):
                    seen = found[k][:, attention_mask[k].bool()]
                    assert torch.equal(seen.nan_to_num(), expected[0].nan_to_num())
                    # What is masked is multiplied by zero, which only numbers bear.
                    assert failing[k] or found[k].isfinite().all()
        return SimpleNamespace(logits=torch.zeros(len(rows), 1, 50))


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_come_and_go(seed):
    """In any order: longer ones than the window, into freed slots, with other rows' rests there."""
    draw = random.Random(seed)
    most, slots = draw.choice([3, 9, 20]), draw.choice([1, 3, 6])
    waiting = [row(k, draw.choice([1, 2, 5, 11, 30])) for k in range(40)]
    lives = {one.index: draw.randint(1, most) for one in waiting}
    broken = {one.index for one in waiting if draw.random() < 0.2}
    model = Model(waiting, slots, lives, broken, seed)
    flight, longest = model.flight, max(len(one.prompt.tokens) for one in waiting)
    while waiting or flight.rows:
        if waiting and flight.free and (not flight.rows or draw.random() < 0.5):
            count = draw.randint(1, flight.free)
            some, waiting = waiting[:count], waiting[count:]
            spare = longest - max(len(one.prompt.tokens) for one in some)
            model.join(some, padding=draw.randint(0, spare))
        else:
            flight.step()
    assert flight.tally.decode_row_steps == sum(lives.values()) - 40


def test_what_a_broken_row_leaves_does_not_reach_a_later_one():
    """A freed slot keeps what was in it, also left of where the next row begins."""
    first, second, broken, third, fourth, fifth = (row(k, 4) for k in range(6))
    longest = row(6, 38)
    lives = {0: 33, 1: 2, 2: 2, 3: 40, 4: 40, 5: 40, 6: 2}
    model = Model([longest], 4, lives, broken=[2])
    model.join([first, second, broken])
    for _ in range(31):
        model.flight.step()
    model.join([third])
    model.flight.step()
    assert model.flight.rows == [third]
    model.join([fourth])
    model.join([fifth])  # where the broken one was
    for _ in range(5):
        model.flight.step()
    model.join([longest])
    model.flight.step()


def test_the_window_moves_back_when_it_reaches_the_end():
    rows = [row(k, 3) for k in range(4)]
    model = Model(rows, 2, {0: 40, 1: 40, 2: 40, 3: 40})
    for one in rows:
        model.join([one])
        for _ in range(20):
            model.flight.step()
    assert 20 * len(rows) > model.flight.cache.columns > model.flight.cache.window.high


def test_forked_keys_and_values_are_those_of_the_states_they_come_from():
    """Held in parts of several lengths, which end at the same column."""
    drawn = torch.Generator().manual_seed(0)

    def draw(states, length):
        return tuple(torch.randn(states, 2, length, 5, generator=drawn) for _ in range(2))

    new = draw(5, 1)
    short, long = draw(3, 4), draw(2, 7)
    origins = [(short, 2), (long, 1), (short, 2), (long, 0), (short, 0)]
    sources = [
        Source(
            held,
            torch.tensor([k for k, (whose, _) in enumerate(origins) if whose is held]),
            torch.tensor([state for whose, state in origins if whose is held]),
        )
        for held in (short, long)
    ]
    layer = ForkedLayer(sources)
    assert layer.get_seq_length() == 7
    found = layer.update(*new)
    for k, (held, state) in enumerate(origins):
        cache = DynamicCache()
        cache.update(*(part[state : state + 1] for part in held), 0)
        expected = cache.update(*(part[k : k + 1] for part in new), 0)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[k][:, -other.shape[2] :], other[0])
            assert one[k].isfinite().all()
