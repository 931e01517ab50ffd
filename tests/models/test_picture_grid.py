"""The grid of a picture's tokens."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from calib.data.example import Example
from calib.models.picture_grid import picture_grid
from calib.models.prompts import read_prompt


def example_of(*pictures):
    return Example("a", "request", "request", "request", "test", "What is it?",
                   pictures[0] if pictures else None, more_pictures=pictures[1:])  # fmt: skip


def plain():
    return Image.new("RGB", (64, 64), "white")


@pytest.mark.parametrize(("row", "column"), [(0, 3), (2, 1)])
def test_a_token_of_the_grid_changes_most_with_the_picture_below_it(vlm, row, column):
    def marked():
        image = plain()
        box = [column * 16, row * 16, column * 16 + 15, row * 16 + 15]
        ImageDraw.Draw(image).rectangle(box, fill="black")
        return image

    features = []
    for picture in (plain, marked):
        example = example_of(picture)
        prompt = read_prompt(vlm, example)
        assert picture_grid(vlm, example, prompt) == (4, 4)
        features.append(prompt.image_features[0]["pooler_output"].reshape(16, -1))
    change = (features[1] - features[0]).norm(dim=1)
    assert divmod(int(change.argmax()), 4) == (row, column)


def test_there_is_no_grid_without_or_with_several_pictures(vlm):
    for pictures in ((), (plain, plain)):
        example = example_of(*pictures)
        assert picture_grid(vlm, example, read_prompt(vlm, example)) is None


@pytest.mark.parametrize("cut", ["crop_to_patches", "do_center_crop", "image_grid_pinpoints"])
def test_there_is_no_grid_over_a_picture_that_is_cut(vlm, cut):
    example = example_of(plain)
    size = {"height": 64, "width": 64}
    processor = SimpleNamespace(image_processor=SimpleNamespace(size=size, **{cut: [1]}))
    prompt = read_prompt(vlm, example)
    assert picture_grid(replace(vlm, processor=processor), example, prompt) is None


def test_a_grid_in_patches_is_counted_in_tokens():
    model = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))
    )
    prompt = SimpleNamespace(
        image_mask=torch.ones(6), pixel_inputs={"image_grid_thw": torch.tensor([[1, 4, 6]])}
    )
    assert picture_grid(SimpleNamespace(model=model), example_of(plain), prompt) == (2, 3)
