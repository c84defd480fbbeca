"""Names of blocks and modules."""

import re

import pytest

from schemas.errors import RecipeError
from train import blocks
from train.blocks import SD15, SDXL


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
def test_unet_paths_of_sd15_have_a_block_and_a_name(
    path: str, block: str | None, name: str
) -> None:
    assert blocks.unet_block(path) == block
    assert SD15.unet_name(path) == name
    assert blocks.block_of_name(name) == block


@pytest.mark.parametrize(
    ("path", "block", "name"),
    [
        ("conv_in", "IN00", "input_blocks_0_0"),
        ("down_blocks.0.resnets.1.conv1", "IN02", "input_blocks_2_0_in_layers_2"),
        ("down_blocks.0.downsamplers.0.conv", "IN03", "input_blocks_3_0_op"),
        (
            "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_out.0",
            "IN04",
            "input_blocks_4_1_transformer_blocks_1_attn1_to_out_0",
        ),
        ("down_blocks.2.attentions.1.proj_in", "IN08", "input_blocks_8_1_proj_in"),
        ("mid_block.resnets.0.conv2", "M00", "middle_block_0_out_layers_3"),
        ("mid_block.attentions.0.proj_out", "M00", "middle_block_1_proj_out"),
        ("mid_block.resnets.1.time_emb_proj", "M00", "middle_block_2_emb_layers_1"),
        ("up_blocks.0.attentions.2.proj_in", "OUT02", "output_blocks_2_1_proj_in"),
        ("up_blocks.0.upsamplers.0.conv", "OUT02", "output_blocks_2_2_conv"),
        ("up_blocks.2.resnets.1.conv_shortcut", "OUT07", "output_blocks_7_0_skip_connection"),
        ("time_embedding.linear_1", None, "time_embed_0"),
    ],
)
def test_unet_paths_of_sdxl_have_a_block_and_the_name_of_sgm(
    path: str, block: str | None, name: str
) -> None:
    assert blocks.unet_block(path) == block
    assert SDXL.unet_name(path) == f"lora_unet_{name}"
    assert blocks.block_of_name(f"lora_unet_{name}") == block
    diffusers = f"lora_unet_{path.replace('.', '_')}"
    assert blocks.block_of_name(diffusers) == block
    assert SDXL.own_names({f"{diffusers}.lora_up.weight": 1, f"{diffusers}.alpha": 2}) == {
        f"lora_unet_{name}.lora_up.weight": 1,
        f"lora_unet_{name}.alpha": 2,
    }


@pytest.mark.parametrize("level", ["", "text_model."])
def test_text_paths_have_one_name_with_and_without_the_level(level: str) -> None:
    path = f"{level}encoder.layers.11.self_attn.out_proj"
    rest = "text_model_encoder_layers_11_self_attn_out_proj"
    assert SD15.text_name(0, path) == f"lora_te_{rest}"
    assert SDXL.text_name(0, path) == f"lora_te1_{rest}"
    assert SDXL.text_name(1, path) == f"lora_te2_{rest}"
    assert blocks.block_of_name(f"lora_te2_{rest}") == "TE"


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("all", set(SD15.blocks)),
        ("unet", set(SD15.unet_blocks)),
        ("TE", {"TE"}),
        ("IN04-05, M00", {"IN04", "IN05", "M00"}),
        ("in04-05,te", {"IN04", "IN05", "TE"}),
        ("OUT3,OUT9-10", {"OUT03", "OUT09", "OUT10"}),
    ],
)
def test_blocks_are_named_singly_and_in_ranges(text: str, chosen: set[str]) -> None:
    assert SD15.parse(text) == chosen


def test_sdxl_has_fewer_blocks() -> None:
    assert len(SD15.unet_blocks) == 25
    assert len(SDXL.unet_blocks) == 19
    assert SDXL.parse("IN04-07,OUT03-06,TE") == {
        *("IN04", "IN05", "IN06", "IN07", "OUT03", "OUT04", "OUT05", "OUT06", "TE")
    }


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
            'adapter.blocks = "IN00,OUT01" holds no module that the adapter changes: those lie in'
            " TE, IN01, IN02, IN04, IN05, IN07, IN08, M00, OUT03, OUT04, OUT05, OUT06, OUT07,"
            " OUT08, OUT09, OUT10, OUT11",
        ),
    ],
)
def test_wrong_blocks_are_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        SD15.parse(text)


def test_blocks_that_only_sd15_has_are_refused_for_sdxl() -> None:
    message = (
        'adapter.blocks = "OUT09": "OUT09" is no block of SDXL (did you mean "OUT08"?); known are'
        ' "all", "unet", TE, IN00 to IN08, M00, OUT00 to OUT08, and ranges such as IN04-07'
    )
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        SDXL.parse("OUT09")


def test_convolutions_lie_in_blocks_without_attention_too() -> None:
    assert SDXL.parse("IN01", conv=True) == {"IN01"}
    with pytest.raises(RecipeError, match=r'^adapter\.blocks = "IN01" holds no module'):
        SDXL.parse("IN01")
