"""The vision towers of our own: padding, tokens, names, and registration with transformers."""

import pytest
import torch
from tiny_smolvlm import TOWER, tiny_tower
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from calib.models.towers import register_towers
from calib.models.towers.efficientnet_lite import Convolution, EfficientNetLiteConfig
from calib.models.towers.naming import NamingTower, NamingTowerConfig


def same_padding(pixels, kernel, stride):
    """TensorFlow's "SAME": the output has ceil(side / stride) pixels, and odd padding is more at
    the end."""
    side = pixels.shape[-1]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return F.pad(pixels, [total // 2, total - total // 2] * 2)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_a_convolution_pads_as_tensorflow_does(kernel, stride):
    torch.manual_seed(0)
    layer = Convolution(2, 3, kernel, stride, 1)
    pixels = torch.randn(1, 2, 12, 12)
    padded = same_padding(pixels, kernel, stride)
    expected = F.conv2d(padded, layer.weight, layer.bias, stride)
    torch.testing.assert_close(layer(pixels), expected)


def test_a_picture_becomes_a_grid_of_tokens_row_by_row():
    tower = tiny_tower()
    pixels = torch.randn(2, 3, 224, 224)
    tokens = tower(pixel_values=pixels).hidden_states[-1]
    assert tokens.shape == (2, 49, 8)
    grid = F.relu6(tower.head(tower.grid(pixels)))
    assert torch.equal(tokens[1, 7 * 2 + 3], grid[1, :, 2, 3])


def test_a_registered_tower_is_found_by_the_auto_classes(tmp_path):
    register_towers()
    register_towers()
    tower = tiny_tower()
    tower.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).stages == TOWER["stages"]
    again = AutoModel.from_pretrained(tmp_path)
    for name, weight in tower.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_lite0_has_the_published_number_of_parameters():
    with torch.device("meta"):
        register_towers()
        tower = AutoModel.from_config(EfficientNetLiteConfig())
    # 4,652,008 of the published classifier, less its 1,281,000 and two of each batch norm's four.
    assert sum(p.numel() for p in tower.parameters()) == 3_350_000


def test_a_naming_tower_gives_the_distribution_of_word_pieces_at_each_place():
    pieces = [[0, 2], [1, 2], [0, 3]]
    config = NamingTowerConfig(pieces=pieces, hidden_size=4, sharpness=2.0, network=TOWER)
    tower = NamingTower(config)
    torch.nn.init.zeros_(tower.naming.weight)
    scores = torch.tensor([0.0, 1.0, 3.0])
    tower.naming.bias.data.copy_(scores)
    a, b, c = (2 * scores).softmax(-1).tolist()
    found = tower(pixel_values=torch.randn(2, 3, 224, 224)).hidden_states[-1]
    expected = torch.tensor([[a + c, b, 0, 0], [0, 0, a + b, c]]).expand(2, 2, 4)
    torch.testing.assert_close(found, expected)
