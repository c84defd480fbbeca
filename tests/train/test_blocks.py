"""Names of blocks and modules."""

import re

import pytest

from schemas.errors import RecipeError
from train import blocks


@pytest.mark.parametrize(
    ("path", "block", "name"),
    [
        ("conv_in", "IN00", "lora_unet_conv_in"),
        (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "IN04",
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0",
        ),
        (
            "down_blocks.0.downsamplers.0.conv",
            "IN03",
            "lora_unet_down_blocks_0_downsamplers_0_conv",
        ),
        ("down_blocks.3.resnets.1.conv2", "IN11", "lora_unet_down_blocks_3_resnets_1_conv2"),
        ("mid_block.attentions.0.proj_in", "M00", "lora_unet_mid_block_attentions_0_proj_in"),
        ("up_blocks.0.upsamplers.0.conv", "OUT02", "lora_unet_up_blocks_0_upsamplers_0_conv"),
        (
            "up_blocks.3.attentions.2.proj_out",
            "OUT11",
            "lora_unet_up_blocks_3_attentions_2_proj_out",
        ),
        ("up_blocks.1.resnets.0.conv1", "OUT03", "lora_unet_up_blocks_1_resnets_0_conv1"),
        ("time_embedding.linear_1", None, "lora_unet_time_embedding_linear_1"),
    ],
)
def test_unet_paths_have_a_block_and_a_name(path: str, block: str | None, name: str) -> None:
    assert blocks.unet_block(path) == block
    assert blocks.unet_name(path) == name
    assert blocks.block_of_name(name) == block


@pytest.mark.parametrize("level", ["", "text_model."])
def test_text_paths_have_one_name_with_and_without_the_level(level: str) -> None:
    path = f"{level}encoder.layers.11.self_attn.out_proj"
    assert blocks.is_text_target(path)
    assert blocks.text_name(path) == "lora_te_text_model_encoder_layers_11_self_attn_out_proj"
    assert blocks.block_of_name(blocks.text_name(path)) == "TE"
    assert not blocks.is_text_target(f"{level}encoder.layers.11.layer_norm1")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("all", set(blocks.BLOCKS)),
        ("unet", set(blocks.UNET_BLOCKS)),
        ("TE", {"TE"}),
        ("IN04-05, M00", {"IN04", "IN05", "M00"}),
        ("in04-05,te", {"IN04", "IN05", "TE"}),
        ("OUT3,OUT9-10", {"OUT03", "OUT09", "OUT10"}),
    ],
)
def test_blocks_are_named_singly_and_in_ranges(text: str, chosen: set[str]) -> None:
    assert blocks.parse_blocks(text) == chosen


KNOWN = 'known are "all", "unet", TE, IN00 to IN11, M00, OUT00 to OUT11, and ranges such as IN04-07'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IN12", f'adapter.blocks = "IN12": "IN12" is no block (did you mean "IN11"?); {KNOWN}'),
        ("MID", f'adapter.blocks = "MID": "MID" is no block; {KNOWN}'),
        (
            "IN07-04",
            f'adapter.blocks = "IN07-04": "IN07-04" is no block (did you mean "IN07"?); {KNOWN}',
        ),
        ("TE,", f'adapter.blocks = "TE,": "" is no block; {KNOWN}'),
        (
            "IN00,OUT01",
            'adapter.blocks = "IN00,OUT01" holds no module that a LoRA changes: those lie in TE,'
            " IN01, IN02, IN04, IN05, IN07, IN08, M00, OUT03, OUT04, OUT05, OUT06, OUT07, OUT08,"
            " OUT09, OUT10, OUT11",
        ),
    ],
)
def test_wrong_blocks_are_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        blocks.parse_blocks(text)
