"""sd-scripts' options that need no thought: same meaning under our name, not needed, or not here.

The options are those of train_network.py and sdxl_train_network.py (kohya-ss/sd-scripts 48d368fa).
"""

# option -> key of train.toml; a number or a text as it stands
SAME = {
    "vae": "model.vae",
    "clip_skip": "model.clip_skip",
    "train_batch_size": "steps.batch",
    "gradient_accumulation_steps": "steps.accumulate",
    "noise_offset": "loss.noise_offset",
    "ip_noise_gamma": "loss.input_perturbation",
    "min_snr_gamma": "loss.min_snr",
    "prior_loss_weight": "loss.prior_weight",
    "caption_dropout_rate": "caption.drop_caption",
    "network_weights": "adapter.start",
    "network_dropout": "adapter.dropout",
    "save_every_n_steps": "save.every",
    "sample_every_n_steps": "sample.every",
}

# flag -> key and value
FLAGS = {
    "v_parameterization": ("model.prediction", "v"),
    "zero_terminal_snr": ("model.zero_terminal_snr", True),
    "fp8_base": ("model.storage", "fp8"),
    "fp8_base_unet": ("model.storage", "fp8"),
    "flip_aug": ("latents.flip", True),
    "color_aug": ("latents.color", True),
    "gradient_checkpointing": ("steps.checkpointing", True),
    "torch_compile": ("steps.compile", True),
    "debiased_estimation_loss": ("loss.debiased", True),
    "masked_loss": ("loss.mask", "alpha"),
    "alpha_mask": ("loss.mask", "alpha"),
}

ATTENTION = "attention is computed without the full matrix (SDPA) always"
CACHED = "latents are cached on disk always, and found again by VAE, size and image"
TEXTS = "text-encoder outputs are cached wherever captions do not change"
LOADING = "images are decoded once, when latents are made; training reads memory-mapped shards"
HEADS = "the fixed head of captions is said in prep.toml: trigger, and keep in [caption.render]"
LOGS = "every run writes log.jsonl and tensorboard files into its own folder"
STATES = "every checkpoint has its state: `train --resume` goes on bit for bit"
RUNS = "the run's folder holds everything; where it lies is `out`"
CAPTIONS = "`prep import` reads the captions beside the images, whatever their ending"
HUB = "nothing is uploaded"
MEMORY = "models are on the device only while they are needed"
FOR_OTHERS = "metadata is written from the recipe and the data"

NOT_NEEDED = {
    "xformers": ATTENTION,
    "sdpa": ATTENTION,
    "mem_eff_attn": ATTENTION,
    "split_attn": ATTENTION,
    "diffusers_xformers": ATTENTION,
    "cache_latents": CACHED,
    "cache_latents_to_disk": CACHED,
    "vae_batch_size": CACHED,
    "skip_cache_check": CACHED,
    "skip_latents_validity_check": CACHED,
    "cache_text_encoder_outputs": TEXTS,
    "cache_text_encoder_outputs_to_disk": TEXTS,
    "text_encoder_batch_size": TEXTS,
    "persistent_data_loader_workers": LOADING,
    "max_data_loader_n_workers": LOADING,
    "cache_info": LOADING,
    "dataset_repeats": "how often an image is seen is said in prep.toml: repeats of its set",
    "debug_dataset": "`train --dry-run` shows what would be trained",
    "keep_tokens": HEADS,
    "keep_tokens_separator": HEADS,
    "caption_extension": CAPTIONS,
    "caption_extention": CAPTIONS,
    "caption_separator": "captions are lists of tags in the manifest; nothing is split on commas",
    "in_json": "`prep import` reads meta_*.json beside the images",
    "logging_dir": LOGS,
    "log_with": LOGS,
    "log_prefix": LOGS,
    "log_config": LOGS,
    "log_tracker_name": LOGS,
    "console_log_level": LOGS,
    "console_log_file": LOGS,
    "console_log_simple": LOGS,
    "save_state": STATES,
    "save_state_on_train_end": STATES,
    "save_last_n_epochs_state": STATES,
    "save_last_n_steps_state": STATES,
    "resume": STATES,
    "resume_from_huggingface": STATES,
    "initial_epoch": STATES,
    "initial_step": STATES,
    "skip_until_initial_step": STATES,
    "save_model_as": "adapters are .safetensors always",
    "output_config": RUNS,
    "training_comment": FOR_OTHERS,
    "no_metadata": FOR_OTHERS,
    "lowram": MEMORY,
    "highvram": MEMORY,
    "no_half_vae": "the VAE encodes in fp32",
    "disable_mmap_load_safetensors": MEMORY,
    "enable_bucket": "images are put into buckets always",
    "sample_sampler": "samples are drawn with DPM-Solver++ at fixed seeds",
    "ddp_timeout": "several cards: torchrun -m train train.toml",
    "ddp_gradient_as_bucket_view": "several cards: torchrun -m train train.toml",
    "ddp_static_graph": "several cards: torchrun -m train train.toml",
    "huggingface_path_in_repo": HUB,
    "huggingface_repo_id": HUB,
    "huggingface_repo_type": HUB,
    "huggingface_repo_visibility": HUB,
    "huggingface_token": HUB,
    "save_state_to_huggingface": HUB,
    "async_upload": HUB,
    "wandb_api_key": LOGS,
    "wandb_run_name": LOGS,
}

FULL_HALF = "not taken over: what is trained stays fp32, as in half precision nothing is learnt"
SD2 = "not taken over: SD2 models are not trained here"
MULTIRES = "not here: noise_offset in [loss] is what comes nearest"
CROPS = "not taken over: crops are about the centre, and told by `train --dry-run`"
BASE_FIRST = "`train merge` these into the checkpoint first, and train on the result"

INSTEAD = {
    "tokenizer_cache_dir": "name the tokenizer's own folder in it as tokenizer in [model]",
    "full_fp16": FULL_HALF,
    "full_bf16": FULL_HALF,
    "v2": SD2,
    "multires_noise_iterations": MULTIRES,
    "multires_noise_discount": MULTIRES,
    "adaptive_noise_scale": "not here: noise_offset stays as it is given",
    "noise_offset_random_strength": "not here: noise_offset stays as it is given",
    "ip_noise_gamma_random_strength": "not here: input_perturbation stays as it is given",
    "random_crop": CROPS,
    "face_crop_aug_range": CROPS,
    "base_weights": BASE_FIRST,
    "base_weights_multiplier": BASE_FIRST,
    "conditioning_data_dir": "not here: masks come from the images' own alpha",
    "weighted_captions": "not here: captions are tags without weights",
    "enable_wildcard": "not here: tags are shuffled, not chosen among alternatives",
    "caption_prefix": "write it into prep.toml: prefix in [caption.render]",
    "caption_suffix": "write it into prep.toml: suffix in [caption.render]",
    "caption_dropout_every_n_epochs": "not here: drop_caption in [caption] is a part of exposures",
    "token_warmup_min": "not here: captions have all their tags from the first step",
    "token_warmup_step": "not here: captions have all their tags from the first step",
    "secondary_separator": "not here: a tag is one tag",
    "scale_weight_norms": "not here: `train resize` and strengths shrink what grew too large",
    "dim_from_weights": "an adapter to start from has to have the dim and alpha of [adapter]",
    "fused_backward_pass": "not here: an adapter's gradients are small",
    "deepspeed": "not here: a frozen base needs no sharding; several cards: torchrun -m train",
    "scale_v_pred_loss_like_noise_pred": "not here: min_snr in [loss] weighs v-prediction",
    "v_pred_like_loss": "not here: prediction in [model] says what the model predicts",
    "fp8_dtype": "fp8 storage keeps e4m3",
    "dynamo_backend": "compile in [steps] uses torch's own backend",
}
