"""Adapter files: safetensors with kohya's names, and the metadata that user interfaces read.

The same tensors and metadata are the same bytes.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from schemas.errors import ModelError
from schemas.files import fingerprint, write_bytes
from schemas.recipes.train import AdapterKind, AdapterSection, ModelKind, TrainRecipe
from train.checkpoint_file import SafetensorsFile
from train.tensor_file import Entry, bytes_of, header

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
KINDS: Mapping[ModelKind, Mapping[str, str]] = {  # what user interfaces know a model's kind by
    "sd15": {
        "ss_base_model_version": "sd_v1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
    },
    "sdxl": {
        "ss_base_model_version": "sdxl_base_v1-0",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
    },
}
NETWORKS: Mapping[AdapterKind, tuple[str, Mapping[str, Any]]] = {  # module and arguments elsewhere
    "lora": ("networks.lora", {}),
    "locon": ("networks.lora", {}),  # with conv_dim among the arguments
    "dora": ("lycoris.kohya", {"algo": "lora", "dora_wd": True}),
    "loha": ("lycoris.kohya", {"algo": "loha"}),
    "lokr": ("lycoris.kohya", {"algo": "lokr"}),
    "dylora": ("networks.dylora", {"unit": 1}),
    "full": ("lycoris.kohya", {"algo": "full"}),
}
LEGACY_HASH = slice(0x100000, 0x110000)  # the bytes of a file that older interfaces hash


def write_adapter(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], precision: str
) -> None:
    """Write an adapter file, whole or not at all, and add the hashes that interfaces look up.

    sshs_model_hash: SHA-256 of the bytes after the header. sshs_legacy_hash: the first 8 hex
    digits of SHA-256 over bytes 0x100000-0x110000 of the file with the ss_* metadata only.
    """
    cast = {name: tensor.to("cpu", PRECISIONS[precision]) for name, tensor in tensors.items()}
    narrow = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    first = to_bytes(cast, narrow)
    body = first[8 + struct.unpack("<Q", first[:8])[0] :]
    hashes = {
        "sshs_model_hash": hashlib.sha256(body).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(first[LEGACY_HASH]).hexdigest()[:8],
    }
    write_bytes(path, to_bytes(cast, {**metadata, **hashes}))


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file: names and metadata sorted, the same bytes for the same values."""
    ordered = sorted(tensors.items())
    entries = [Entry(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in ordered]
    return b"".join([header(entries, metadata), *(bytes_of(tensor) for _, tensor in ordered)])


def read_adapter(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of an adapter file. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"adapter {path} is missing")
    file = SafetensorsFile(path, f"adapter {path}")
    # a copy each: Windows cannot replace a file that is still mapped
    tensors = {name: tensor.clone() for name, tensor in file.read(file.shapes).items()}
    return tensors, dict(file.metadata)


def metadata_of(
    recipe: TrainRecipe,
    manifest: pa.Table,
    *,
    kind: ModelKind,
    name: str,
    model_hash: str,
    vae_hash: str,
    buckets: Mapping[tuple[int, int], int],
    seen: Mapping[str, int],
    started: float,
    finished: float,
    date: str,
) -> dict[str, str]:
    """Return the ss_* and modelspec.* metadata of an adapter trained by `recipe`.

    buckets: images per (width, height). seen: counts under ss_steps, ss_epoch and the like.
    started, finished: seconds since 1970. date: ISO 8601.
    """
    values: dict[str, Any] = {
        "ss_session_id": fingerprint(recipe.model_dump(mode="json"), model_hash),
        "ss_training_started_at": started,
        "ss_training_finished_at": finished,
        "ss_output_name": name,
        "ss_new_sd_model_hash": model_hash,
        "ss_new_vae_hash": vae_hash,
        "ss_bucket_info": json.dumps(_bucket_info(buckets)),
        **_recipe_of(recipe),
        **KINDS[kind],
        **_data_of(manifest),
        **{f"ss_{key}": value for key, value in seen.items()},
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": name,
        "modelspec.date": date,
        "modelspec.resolution": "x".join([str(recipe.latents.resolutions[-1])] * 2),
        "modelspec.prediction_type": recipe.model.prediction,
        "modelspec.encoder_layer": recipe.model.clip_skip,
    }
    return {key: str(value) for key, value in values.items()}


def _recipe_of(recipe: TrainRecipe) -> dict[str, Any]:
    """Return what the metadata tells of the recipe; what this trainer does not do is None."""
    model, latents, optimizer, loss = recipe.model, recipe.latents, recipe.optimizer, recipe.loss
    text_lr = optimizer.lr if optimizer.text_encoder_lr is None else optimizer.text_encoder_lr
    precision = recipe.steps.precision
    return {
        "ss_v2": False,
        "ss_sd_model_name": Path(model.path).name,
        "ss_vae_name": Path(model.vae).name if model.vae else None,
        "ss_clip_skip": model.clip_skip,
        "ss_zero_terminal_snr": model.zero_terminal_snr,
        **_network_of(recipe.adapter),
        "ss_learning_rate": optimizer.lr,
        "ss_unet_lr": optimizer.lr,
        "ss_text_encoder_lr": text_lr,
        "ss_lr_scheduler": optimizer.schedule,
        "ss_lr_warmup_steps": optimizer.warmup,
        "ss_max_grad_norm": optimizer.clip,
        "ss_optimizer": optimizer.name + _arguments(optimizer.args),
        "ss_mixed_precision": "no" if precision == "fp32" else precision,
        "ss_full_fp16": False,
        "ss_gradient_checkpointing": recipe.steps.checkpointing,
        "ss_gradient_accumulation_steps": recipe.steps.accumulate,
        "ss_total_batch_size": recipe.steps.batch,
        "ss_seed": recipe.seed,
        "ss_max_token_length": recipe.caption.tokens,
        "ss_shuffle_caption": recipe.caption.shuffle,
        "ss_caption_dropout_rate": recipe.caption.drop_caption,
        "ss_loss_type": loss.kind,
        "ss_huber_schedule": None if loss.kind == "l2" else loss.huber.schedule,
        "ss_huber_c": None if loss.kind == "l2" else loss.huber.c,
        "ss_prior_loss_weight": loss.prior_weight,
        "ss_noise_offset": loss.noise_offset or None,
        "ss_min_snr_gamma": loss.min_snr or None,
        "ss_resolution": f"({latents.resolutions[-1]}, {latents.resolutions[-1]})",
        "ss_color_aug": latents.color,
        "ss_flip_aug": latents.flip,
        "ss_enable_bucket": True,
        "ss_bucket_no_upscale": not latents.upscale,
        "ss_min_bucket_reso": latents.min,
        "ss_max_bucket_reso": latents.max,
    }


def _network_of(section: AdapterSection) -> dict[str, Any]:
    """Return what other trainers and interfaces know this kind of adapter by."""
    module, args = NETWORKS[section.kind]
    conv = {"conv_dim": section.conv_dim, "conv_alpha": section.conv_alpha or section.alpha}
    own = section.model_dump(mode="json", include={"blocks", "block"}, exclude_none=True)
    return {
        "ss_network_module": module,
        "ss_network_dim": section.dim,
        "ss_network_alpha": section.alpha,
        "ss_network_dropout": section.dropout or None,
        "ss_network_args": json.dumps(
            {**args, **(conv if section.conv_dim else {}), **{k: v for k, v in own.items() if v}}
        ),
    }


def _arguments(args: Mapping[str, Any]) -> str:
    return f"({','.join(f'{key}={value}' for key, value in args.items())})" if args else ""


def _bucket_info(buckets: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    listed = {
        str(number): {"resolution": list(size), "count": buckets[size]}
        for number, size in enumerate(sorted(buckets))
    }
    return {"buckets": listed}


def _data_of(manifest: pa.Table) -> dict[str, Any]:
    """Return what the metadata tells of the images: counts, sets, how often each tag stands."""
    sets: dict[bool, dict[str, dict[str, int]]] = {False: {}, True: {}}
    frequency: dict[str, dict[str, int]] = {}
    for name in sorted(pc.unique(manifest.column("set")).to_pylist()):
        rows = manifest.filter(pc.equal(manifest.column("set"), name))
        repeats = int(pc.max(rows.column("repeats")).as_py())
        is_reg = bool(rows.column("is_reg")[0].as_py())
        sets[is_reg][name] = {"n_repeats": repeats, "img_count": rows.num_rows}
        frequency[name] = _tag_counts(rows)
    images = {
        is_reg: sum(entry["n_repeats"] * entry["img_count"] for entry in of_kind.values())
        for is_reg, of_kind in sets.items()
    }
    return {
        "ss_num_train_images": images[False],
        "ss_num_reg_images": images[True],
        "ss_dataset_dirs": json.dumps(sets[False]),
        "ss_reg_dataset_dirs": json.dumps(sets[True]),
        "ss_tag_frequency": json.dumps(frequency, ensure_ascii=False),
    }


def _tag_counts(rows: pa.Table) -> dict[str, int]:
    tags = pc.struct_field(pc.list_flatten(rows.column("tags").combine_chunks()), "tag")
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(tags).to_pylist()}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
