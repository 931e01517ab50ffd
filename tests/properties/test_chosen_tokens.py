"""Choices of tokens of any prompt: within it, without padding, and the same in any batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share

from calib.config.choices import POSITIONS, READ_POSITIONS
from calib.models.prompt_batch import PromptBatch, PromptToken, prompt_positions, read_tokens
from calib.util.errors import CalibError

prompts = st.lists(
    st.tuples(
        st.lists(st.booleans(), min_size=1, max_size=8),  # image tokens
        st.integers(0, 7),  # end of the query
        st.integers(0, 3),  # tokens of the response
    ),
    min_size=1,
    max_size=4,
)


def batch_of(prompts, known=True):
    """The prompts padded on the left; only what positions depend on."""
    length = max(len(images) for images, _, _ in prompts)
    pads = [length - len(images) for images, _, _ in prompts]
    mask = [
        [0] * pad + [1] * len(images) for pad, (images, _, _) in zip(pads, prompts, strict=True)
    ]
    image = [[False] * pad + images for pad, (images, _, _) in zip(pads, prompts, strict=True)]
    ends = [
        pad + min(end, len(images) - 1) for pad, (images, end, _) in zip(pads, prompts, strict=True)
    ]
    attention = torch.tensor(mask)
    return PromptBatch(
        tokens=attention,
        attention_mask=attention,
        position_ids=attention,
        image_mask=torch.tensor(image),
        token_inputs={},
        image_inputs={},
        instruction_end=torch.tensor(ends if known else [-1] * len(prompts)),
        response_tokens=torch.tensor([min(n, len(images)) for images, _, n in prompts]),
    )


CHOICES = st.sampled_from(POSITIONS) | st.builds(PromptToken, st.integers(1, 10))


@given(prompts, CHOICES)
@share(5)
def test_tokens_to_edit_are_in_the_prompt_and_do_not_depend_on_the_batch(prompts, positions):
    batch = batch_of(prompts)
    chosen = prompt_positions(batch, positions)
    assert chosen.dtype == torch.bool and chosen.shape == batch.tokens.shape
    assert not (chosen & (batch.attention_mask == 0)).any()
    for row, prompt in zip(chosen, prompts, strict=True):
        alone = prompt_positions(batch_of([prompt]), positions)[0]
        assert torch.equal(row[-len(alone) :], alone)
    parts = [prompt_positions(batch, name) for name in ("image", "text")]
    assert torch.equal(parts[0] | parts[1], batch.attention_mask.bool())
    assert not (parts[0] & parts[1]).any()


READ = st.sampled_from(READ_POSITIONS) | st.integers(1, 12).map("last_prompt-{}".format)


@given(prompts, READ)
@share(5)
def test_tokens_to_read_are_in_the_prompt_and_do_not_depend_on_the_batch(prompts, positions):
    batch = batch_of(prompts)
    chosen = read_tokens(batch, positions)
    assert not (chosen & (batch.attention_mask == 0)).any()
    for row, prompt in zip(chosen, prompts, strict=True):
        alone = read_tokens(batch_of([prompt]), positions)[0]
        assert torch.equal(row[-len(alone) :], alone)


@given(prompts, st.sampled_from(["after_instruction", "instruction_end"]))
def test_without_the_end_of_the_query_it_is_not_guessed(prompts, positions):
    batch = batch_of(prompts, known=False)
    try:
        read_tokens(batch, positions)
    except CalibError as error:
        assert error.code == "unsupported"
    else:
        raise AssertionError(positions)
