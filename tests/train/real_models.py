"""SD1.5 and SDXL base 1.0 as their published config.json files describe them, with random weights.

On torch's default device: within `with torch.device("meta")` they have shapes alone.
"""

from typing import Any

from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

Networks = tuple[Any, list[Any]]  # U-Net, text encoders


def sd15(**text: Any) -> Networks:
    """Return SD1.5. text: what is to be otherwise in its encoder's config."""
    unet = UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=768,
        attention_head_dim=8,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
    )
    return unet, [CLIPTextModel(_text(**text))]


def sdxl() -> Networks:
    """Return SDXL."""
    second = CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        projection_dim=1280,
        hidden_act="gelu",
    )
    unet = UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(320, 640, 1280),
        layers_per_block=2,
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return unet, [CLIPTextModel(_text()), CLIPTextModelWithProjection(second)]


def _text(**changes: Any) -> CLIPTextConfig:
    """The configuration of OpenAI's CLIP-L, which both have."""
    return CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        projection_dim=768,
        **changes,
    )
