"""Edits: exact per row, nothing at strength zero, nothing left behind."""

import pytest
import torch

from calib.vlm.editing import Edit, editing
from calib.vlm.generation import generate
from calib.vlm.layers import decoder, decoder_layers
from calib.vlm.prompts import collate, conversation, read_prompt


@pytest.fixture(scope="module")
def prompts(vlm, mixed_examples):
    return [read_prompt(vlm, example) for example in mixed_examples]


def vector(vlm, seed, size=4.0):
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(seed))
    return size * drawn / drawn.norm()


def logits(vlm, prompts, rows):
    batch = collate(vlm, prompts)
    with torch.no_grad(), editing(vlm, batch, rows):
        return vlm.model(**batch.inputs, use_cache=False).logits, batch


def plain_logits(vlm, prompts):
    with torch.no_grad():
        return vlm.model(**collate(vlm, prompts).inputs, use_cache=False).logits


def hooks(vlm):
    modules = [decoder(vlm.model), *decoder_layers(vlm.model)]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def output_of(layer, seen, name):
    def hook(module, args, output):
        seen.setdefault(name, []).append(output if torch.is_tensor(output) else output[0])

    return layer.register_forward_hook(hook)


def test_zero_strength_is_bit_identical_to_no_hooks(vlm, prompts):
    nothing = [(Edit(2, torch.zeros(vlm.width)),)] * len(prompts)
    edited, _ = logits(vlm, prompts, nothing)
    assert torch.equal(plain_logits(vlm, prompts), edited)


def test_an_unedited_row_beside_edited_ones_is_bit_identical(vlm, prompts):
    plain = plain_logits(vlm, prompts)
    rows = [() if k % 2 else (Edit(1, vector(vlm, k)),) for k in range(len(prompts))]
    edited, _ = logits(vlm, prompts, rows)
    assert torch.equal(plain[1::2], edited[1::2])
    assert (plain[0::2] - edited[0::2]).abs().amax((1, 2)).min() > 1e-2


def test_the_edit_is_the_formula(vlm, prompts):
    """The output of the edited block is its unedited output plus the vector, nothing else."""
    seen = {}
    added = vector(vlm, 0)
    for name, rows in (("plain", [()]), ("edited", [(Edit(3, added),)])):
        handle = output_of(decoder_layers(vlm.model)[3], seen, name)
        logits(vlm, prompts[:1], rows)
        handle.remove()
    assert torch.equal(seen["edited"][0], seen["plain"][0] + added)


@pytest.mark.parametrize("positions", ["image", "text", "last_prompt", "response", "prompt"])
def test_only_the_chosen_prompt_positions_are_edited(vlm, prompts, positions):
    seen = {}
    pictured = [prompt for prompt in prompts if prompt.visual]
    handle = output_of(decoder_layers(vlm.model)[2], seen, "hidden")
    _, batch = logits(vlm, pictured, [()] * len(pictured))
    logits(vlm, pictured, [(Edit(2, vector(vlm, 1), positions),)] * len(pictured))
    handle.remove()
    plain, edited = seen["hidden"]
    changed = (edited - plain).abs().amax(-1) > 0  # [rows, length]
    image = batch.tokens == vlm.image_token
    real = batch.mask.bool()
    last = torch.zeros_like(real)
    last[:, -1] = True
    expected = {
        "image": image, "text": real & ~image, "last_prompt": last, "response": last,
        "prompt": real,
    }[positions]  # fmt: skip
    assert torch.equal(changed, expected)


def test_generated_tokens_are_edited_only_where_asked(vlm, prompts):
    """A response edit reaches the second token's activations; a last_prompt edit does not."""
    seen = {}
    # Far too small to change a token, so that all three runs generate the same text.
    added = vector(vlm, 2, size=1e-3)
    for name, edit in (
        ("plain", ()),
        ("response", (Edit(4, added, "response"),)),
        ("last_prompt", (Edit(4, added, "last_prompt"),)),
    ):
        handle = output_of(decoder_layers(vlm.model)[4], seen, name)
        generate(vlm, prompts[:1], [edit], 2)
        handle.remove()
    # The last pass reads the first generated token.
    second = {name: found[-1][0, -1] for name, found in seen.items()}
    assert torch.allclose(second["response"] - second["plain"], added, atol=1e-4, rtol=0)
    assert (second["last_prompt"] - second["plain"]).abs().max() < 1e-5
    assert (second["response"] - second["plain"]).abs().max() > 1e-4


def test_mixed_batch_equals_single_rows_token_for_token(vlm, prompts):
    """Left padding, neighbours, other layers and strengths in the batch change nothing."""
    rows = [
        (),
        (Edit(0, vector(vlm, 3, 2.0)),),
        (Edit(5, vector(vlm, 4, 6.0), "response"),),
        (Edit(2, vector(vlm, 5, 3.0), "image"),),
        (Edit(1, vector(vlm, 6, 2.0)), Edit(4, vector(vlm, 7, 2.0), "text")),
        (Edit(3, vector(vlm, 8, 9.0), "prompt"),),
    ]
    pictured = [prompt for prompt in prompts if prompt.visual]
    chosen = [pictured[k % len(pictured)] for k in range(len(rows))]
    together = generate(vlm, chosen, rows, 16)
    alone = [generate(vlm, [p], [row], 16)[0] for p, row in zip(chosen, rows, strict=True)]
    assert [(r.text, r.tokens) for r in together] == [(r.text, r.tokens) for r in alone]
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a.first_token, b.first_token, atol=1e-3)


def test_batched_left_padded_equals_single_without_edits(vlm, prompts):
    assert len({len(prompt.tokens) for prompt in prompts}) > 3  # padding is really exercised
    together = generate(vlm, prompts, [()] * len(prompts), 24)
    alone = [generate(vlm, [prompt], [()], 24)[0] for prompt in prompts]
    assert [r.text for r in together] == [r.text for r in alone]


def test_equals_the_models_own_generate(vlm, mixed_examples):
    """Our prompts, features and batches give what the plain transformers call gives."""
    for example in mixed_examples[:3]:
        inputs = vlm.processor.apply_chat_template(
            [conversation(example)], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        tokens = vlm.model.generate(**inputs, max_new_tokens=16, do_sample=False)
        said = vlm.processor.tokenizer.decode(
            tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        assert generate(vlm, [read_prompt(vlm, example)], [()], 16)[0].text == said.strip()


def test_an_exception_inside_leaves_no_hook_behind(vlm, prompts):
    before = hooks(vlm)
    rows = [(Edit(2, vector(vlm, 9)),)] * len(prompts)
    with pytest.raises(ZeroDivisionError), editing(vlm, collate(vlm, prompts), rows):
        assert hooks(vlm) > before
        raise ZeroDivisionError
    assert hooks(vlm) == before


def test_somebody_elses_hook_survives(vlm, prompts):
    handle = decoder_layers(vlm.model)[2].register_forward_hook(lambda m, a, o: None)
    before = hooks(vlm)
    logits(vlm, prompts[:1], [(Edit(2, vector(vlm, 10)),)])
    assert hooks(vlm) == before
    handle.remove()


def test_tuple_outputs_are_edited_in_every_row(vlm, prompts, monkeypatch):
    """Blocks of other versions and architectures return tuples; the hook must see through them."""
    rows = [(Edit(2, vector(vlm, 11)),)] * len(prompts)
    expected, _ = logits(vlm, prompts, rows)
    layer, nexts = decoder_layers(vlm.model)[2], decoder_layers(vlm.model)[3]
    inner = type(layer).forward

    def returning_tuple(*args, **kwargs):
        return (inner(layer, *args, **kwargs),)

    def first_of_tuple(module, args, kwargs):
        return (args[0][0] if isinstance(args[0], tuple) else args[0], *args[1:]), kwargs

    monkeypatch.setattr(layer, "forward", returning_tuple)
    handle = nexts.register_forward_pre_hook(first_of_tuple, with_kwargs=True)
    found, _ = logits(vlm, prompts, rows)
    handle.remove()
    assert torch.equal(found, expected)


def test_two_edits_at_one_layer_in_a_row_are_refused(vlm, prompts):
    batch = collate(vlm, prompts[:1])
    twice = (Edit(2, vector(vlm, 1)), Edit(2, vector(vlm, 2)))
    with pytest.raises(ValueError, match="row 0 has two edits"), editing(vlm, batch, [twice]):
        pass


def test_reading_a_prompt_once_changes_nothing(vlm, prompts, monkeypatch):
    """Shared prefixes against whole prompts in every row, token for token, ended rows leaving."""
    chosen = [prompts[k % 5] for k in range(30)]
    rows = [
        (Edit(k % 6, vector(vlm, k, 3.0), ("last_prompt", "response")[k % 2]),) if k % 4 else ()
        for k in range(30)
    ]
    shared = generate(vlm, chosen, rows, 20)
    monkeypatch.setattr("calib.vlm.generation.can_share", lambda vlm, batch: False)
    whole = generate(vlm, chosen, rows, 20)
    assert [(r.text, r.tokens, r.finish) for r in shared] == [
        (r.text, r.tokens, r.finish) for r in whole
    ]
    assert len({r.tokens for r in shared}) > 3  # rows end at different steps


def test_a_prompt_is_read_once_for_all_its_rows(vlm, prompts):
    seen = {}
    handle = output_of(decoder_layers(vlm.model)[0], seen, "hidden")
    rows = [(Edit(2, vector(vlm, k), "response"),) for k in range(12)]
    generate(vlm, [prompts[0]] * 6 + [prompts[1]] * 6, rows, 3)
    handle.remove()
    shapes = [tuple(hidden.shape[:2]) for hidden in seen["hidden"]]
    longest = max(len(prompts[0].tokens), len(prompts[1].tokens))
    assert shapes[:2] == [(2, longest - 1), (12, 1)]
