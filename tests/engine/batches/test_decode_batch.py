"""The slot cache holds the keys and values that a separate cache per row would hold."""

import random
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache

from calib.engine.batches.batching import columns_for
from calib.engine.batches.decode_batch import DecodeBatch
from calib.engine.batches.prefill import Prefilled
from calib.engine.batches.prefix_sharing import ForkedLayer, StateSource
from calib.engine.request import DecodingRow, Stats
from calib.models.prompts import Prompt

LAYERS, HEADS, WIDTH = 2, 2, 3
CPU = torch.device("cpu")


def row(index, length):
    tokens = torch.arange(length)
    return DecodingRow(index, Prompt(tokens, 100 + tokens, tokens < 0, (), {}, {}), ())


class Model:
    """A stand-in for model and stopping that consists of random keys and values only.

    Each row also has a DynamicCache of its own, and every step compares the two.
    """

    def __init__(self, rows, slots, lengths, broken=(), seed=0):
        """``lengths`` has each row's number of response tokens; rows in ``broken`` end in NaN."""
        blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(LAYERS))
        self.get_decoder = lambda: SimpleNamespace(layers=blocks)
        text = SimpleNamespace(num_hidden_layers=LAYERS)
        self.config = SimpleNamespace(get_text_config=lambda decoder: text)
        self.generator = torch.Generator().manual_seed(seed)
        self.lengths, self.broken, self.own = lengths, broken, {}
        self.batch = DecodeBatch(
            SimpleNamespace(model=self, device=CPU, num_layers=LAYERS),
            self,
            slots,
            columns_for(rows, max(lengths.values())),
            Stats(),
        )

    # The interface of Stopping.

    def scores(self, rows, logits):
        return logits

    def append_tokens(self, rows, scores):
        for row in rows:
            row.tokens.append((row.index + 7 * len(row.tokens)) % 50)
        return torch.tensor([row.tokens[-1] for row in rows])

    def has_ended(self, row):
        return len(row.tokens) == self.lengths[row.index]

    # The interface of the model.

    def join(self, rows, padding=0):
        """Add rows as prefill does: rows share states, which differ between layers."""
        length = max(len(row.prompt.tokens) for row in rows) + padding
        draw = random.Random(rows[0].index)
        keys_values, states_of = [], []
        for row in rows:
            self.own[row.index] = DynamicCache()
        for layer in range(LAYERS):
            states = draw.randint(1, len(rows))
            keys, values = self.draw(states, length), self.draw(states, length)
            states_of.append([draw.randrange(states) for _ in rows])
            for row, state in zip(rows, states_of[-1], strict=True):
                own = (slice(state, state + 1), slice(None), slice(-len(row.prompt.tokens), None))
                self.own[row.index].update(keys[own], values[own], layer)
            keys_values.append((keys, values))
        states_after = [0] * len(rows)
        prefilled = Prefilled(torch.zeros(1, 50), states_after, keys_values, states_of, length)
        self.batch.join(rows, prefilled, list(range(len(rows))))

    def draw(self, rows, length):
        return torch.randn(rows, HEADS, length, WIDTH, generator=self.generator)

    def __call__(self, input_ids, attention_mask, position_ids, past_key_values, use_cache):
        rows = self.batch.rows
        assert past_key_values.get_seq_length() == attention_mask.shape[1] - 1
        assert input_ids[:, 0].tolist() == [row.tokens[-1] for row in rows]
        lengths = [len(row.prompt.tokens) + len(row.tokens) for row in rows]
        assert position_ids[:, 0].tolist() == [100 + length - 1 for length in lengths]
        failing = [
            row.index in self.broken and len(row.tokens) == self.lengths[row.index] - 1
            for row in rows
        ]
        for layer in range(LAYERS):
            new = self.draw(len(rows), 1), self.draw(len(rows), 1)
            for part in new:
                part[failing] = float("nan")
            both = past_key_values.update(*new, layer)
            for k, row in enumerate(rows):
                own = self.own[row.index].update(*(part[k : k + 1] for part in new), layer)
                for slots, expected in zip(both, own, strict=True):
                    attended = slots[k][:, attention_mask[k].bool()]
                    assert torch.equal(attended.nan_to_num(), expected[0].nan_to_num())
                    # Masked columns are multiplied by 0, and 0 x inf is not 0.
                    assert failing[k] or slots[k].isfinite().all()
        return SimpleNamespace(logits=torch.zeros(len(rows), 1, 50))


@pytest.mark.parametrize("seed", range(12))
def test_rows_join_and_leave_in_random_order(seed):
    """Includes prompts longer than the window, and freed slots with leftovers of other rows."""
    draw = random.Random(seed)
    max_tokens, slots = draw.choice([3, 9, 20]), draw.choice([1, 3, 6])
    waiting = [row(k, draw.choice([1, 2, 5, 11, 30])) for k in range(40)]
    lengths = {row.index: draw.randint(1, max_tokens) for row in waiting}
    broken = {row.index for row in waiting if draw.random() < 0.2}
    model = Model(waiting, slots, lengths, broken, seed)
    batch, longest = model.batch, max(len(row.prompt.tokens) for row in waiting)
    while waiting or batch.rows:
        if waiting and batch.free and (not batch.rows or draw.random() < 0.5):
            count = draw.randint(1, batch.free)
            joining, waiting = waiting[:count], waiting[count:]
            spare = longest - max(len(row.prompt.tokens) for row in joining)
            model.join(joining, padding=draw.randint(0, spare))
        else:
            batch.step()
    assert batch.stats.decode_row_steps == sum(lengths.values()) - 40


def test_nan_of_a_finished_row_does_not_reach_a_later_row():
    """A freed slot keeps its content, also to the left of the next row's first column."""
    first, second, broken, third, fourth, fifth = (row(k, 4) for k in range(6))
    longest = row(6, 38)
    lengths = {0: 33, 1: 2, 2: 2, 3: 40, 4: 40, 5: 40, 6: 2}
    model = Model([longest], 4, lengths, broken=[2])
    model.join([first, second, broken])
    for _ in range(31):
        model.batch.step()
    model.join([third])
    model.batch.step()
    assert model.batch.rows == [third]
    model.join([fourth])
    model.join([fifth])  # takes the slot of the broken row
    for _ in range(5):
        model.batch.step()
    model.join([longest])
    model.batch.step()


def test_the_window_moves_back_when_it_reaches_the_end():
    rows = [row(k, 3) for k in range(4)]
    model = Model(rows, 2, {0: 40, 1: 40, 2: 40, 3: 40})
    for next_row in rows:
        model.join([next_row])
        for _ in range(20):
            model.batch.step()
    assert 20 * len(rows) > model.batch.cache.columns > model.batch.cache.window.high


def test_forked_states_continue_from_the_keys_and_values_of_their_source():
    """Sources of different lengths are aligned at their last column."""
    generator = torch.Generator().manual_seed(0)

    def draw(states, length):
        return tuple(torch.randn(states, 2, length, 5, generator=generator) for _ in range(2))

    new = draw(5, 1)
    short, long = draw(3, 4), draw(2, 7)
    origins = [(short, 2), (long, 1), (short, 2), (long, 0), (short, 0)]
    sources = [
        StateSource(
            source,
            torch.tensor([k for k, (origin, _) in enumerate(origins) if origin is source]),
            torch.tensor([state for origin, state in origins if origin is source]),
        )
        for source in (short, long)
    ]
    layer = ForkedLayer(sources)
    assert layer.get_seq_length() == 7
    joined = layer.update(*new)
    for k, (source, state) in enumerate(origins):
        cache = DynamicCache()
        cache.update(*(part[state : state + 1] for part in source), 0)
        own = cache.update(*(part[k : k + 1] for part in new), 0)
        for actual, expected in zip(joined, own, strict=True):
            assert torch.equal(actual[k][:, -expected.shape[2] :], expected[0])
            assert actual[k].isfinite().all()
