"""From options to a recipe: a function for each part of train.toml.

Where sd-scripts has another default than we, the recipe says it, so that the training is the same.
"""

import re
from typing import Any

from train.convert import networks, optimizers
from train.convert.draft import Draft
from train.convert.settings import Settings, literal, stem
from train.convert.tables import FLAGS, INSTEAD, NOT_NEEDED, SAME

PRECISIONS = {"no": "fp32", "fp16": "fp16", "bf16": "bf16", "float": "fp32"}
STEPS, RESOLUTION, BATCH = 1600, 512, 1  # sd-scripts' defaults
LEAST, MOST, STEP = 256, 1024, 64  # of its buckets


def translate(settings: Settings, per_epoch: int) -> Draft:
    """Return the recipe that the settings make. `per_epoch`: images with repeats, 0 if unknown."""
    draft = Draft(dict(settings.options))
    batch = int(draft.number("train_batch_size") or BATCH)
    steps = -(-per_epoch // batch)
    _data(draft, settings)
    _model(draft, settings.kind)
    _latents(draft)
    networks.adapter(draft, draft.values["model.kind"])
    optimizers.optimizer(draft)
    _steps(draft, batch)
    _captions(draft)
    _loss(draft)
    _save(draft, steps)
    _sample(draft, steps)
    _tables(draft)
    return draft


def _data(draft: Draft, settings: Settings) -> None:
    missing = ", ".join(settings.unread)
    if missing:
        draft.blank("data", f"the manifest of the images that {missing} names; convert that too")
    elif not settings.folders:
        draft.blank("data", "the manifest of the dataset to train on, such as manifest.parquet")
    origin = draft.written("output_name")
    folder, name = draft.take("output_dir"), draft.take("output_name")
    draft.put("out", f"runs/{name or (stem(str(folder)) if folder else 'converted')}", origin)
    seed = draft.number("seed")
    if seed is not None:
        draft.put("seed", int(seed))


def _model(draft: Draft, kind: str) -> None:
    origin = draft.written("pretrained_model_name_or_path")
    path = draft.take("pretrained_model_name_or_path")
    if path:
        draft.put("model.path", str(path).replace("\\", "/"), origin)
    else:
        draft.blank("model.path", "the checkpoint to train on")
    draft.put("model.kind", kind or "sd15")
    vae = draft.take("vae")
    if vae:
        draft.put("model.vae", str(vae).replace("\\", "/"))
    origin = draft.written("clip_skip")
    skip = draft.number("clip_skip")
    if draft.values["model.kind"] == "sdxl":
        if origin:
            draft.unneeded.append((origin, "SDXL's encoders are read at one fixed layer"))
    else:
        draft.put("model.clip_skip", int(skip or 1), origin or "not given: the last layer")


def _latents(draft: Draft) -> None:
    origin = draft.written("resolution")
    sides = _sides(draft.take("resolution"))
    width, height = sides or (RESOLUTION, RESOLUTION)
    side = round((width * height) ** 0.5)
    if width != height:
        draft.notes.append(
            f"resolution {width},{height} became {side}: a bucket's area, whatever its shape"
        )
    if sides is None:
        origin = "not given: 512"
    draft.put("latents.resolution", side, origin)
    least = int(draft.number("min_bucket_reso") or LEAST)
    most = int(draft.number("max_bucket_reso") or MOST)
    step = int(draft.number("bucket_reso_steps") or STEP)
    bucketed = draft.written("enable_bucket")
    if not draft.flag("enable_bucket"):
        draft.put("latents.min", side, "no enable_bucket: squares alone, the rest is cropped away")
        draft.put("latents.max", side)
        draft.put("latents.step", step)
        draft.put("latents.upscale", True)
        draft.flag("bucket_no_upscale")
        return
    draft.unneeded.append((bucketed, NOT_NEEDED["enable_bucket"]))
    draft.put("latents.min", min(least, side))
    draft.put("latents.max", max(most, side))
    draft.put("latents.step", step)
    draft.put("latents.upscale", not draft.flag("bucket_no_upscale"))
    if most <= side:
        draft.notes.append(
            f"max_bucket_reso {most} at resolution {side} leaves no long shape: portraits lose"
            " its ends. Raise latents.max, to 2048 for example"
        )


def _sides(value: Any) -> tuple[int, int] | None:
    """`768`, `"512,768"` or `[512, 768]` as width and height."""
    if value is None:
        return None
    numbers = [int(one) for one in re.findall(r"\d+", str(value))]
    return (numbers[0], numbers[-1]) if numbers else None


def _steps(draft: Draft, batch: int) -> None:
    epochs_origin, origin = draft.written("max_train_epochs"), draft.written("max_train_steps")
    epochs, total = draft.number("max_train_epochs"), draft.number("max_train_steps")
    if epochs:
        draft.put("steps.epochs", int(epochs), epochs_origin)
        if origin:
            draft.unneeded.append((origin, "max_train_epochs decides where both are given"))
    else:
        draft.put("steps.total", int(total or STEPS), origin or "not given: 1600")
    draft.put("steps.batch", batch)
    precision = str(draft.take("mixed_precision") or "no").lower()
    draft.put("steps.precision", PRECISIONS.get(precision, "fp32"))


def _captions(draft: Draft) -> None:
    draft.put("caption.shuffle", draft.flag("shuffle_caption"))
    tokens = draft.number("max_token_length")
    draft.put("caption.tokens", int(tokens or 75), "" if tokens else "not given: 75")
    dropped = draft.number("caption_tag_dropout_rate")
    if dropped:
        draft.put("caption.drop_tag", {"general": dropped})


def _loss(draft: Draft) -> None:
    kind = draft.take("loss_type")
    schedule, c = draft.take("huber_schedule"), draft.number("huber_c")
    if kind and kind != "l2":
        draft.put("loss.kind", kind)
        huber = {"schedule": schedule or "snr", "c": c or 0.1}
        draft.put("loss.huber", huber)
    first, last = draft.number("min_timestep"), draft.number("max_timestep")
    if first is not None or last is not None:
        draft.put("loss.timesteps", [int(first or 0), int(last or 1000)])


def _save(draft: Draft, steps: int) -> None:
    precision = str(draft.take("save_precision") or "float").lower()
    draft.put("save.precision", PRECISIONS.get(precision, "fp32"))
    _every(draft, "save", "save_every_n_epochs", "save_every_n_steps", steps)
    last_epochs, last_steps = draft.number("save_last_n_epochs"), draft.number("save_last_n_steps")
    every = draft.values.get("save.every")
    if last_epochs:
        draft.put("save.keep", int(last_epochs))
    elif last_steps and isinstance(every, int):
        draft.put("save.keep", max(1, int(last_steps) // every))
    elif every:
        draft.put("save.keep", 100, "all of them were kept")
    if not every:
        draft.put("save.every", 0, "only at the end")
    ratio = draft.number("save_n_epoch_ratio")
    if ratio:
        draft.notes.append(
            f"save_n_epoch_ratio {ratio:g}: set save.every to that part of the steps"
        )


def _every(draft: Draft, part: str, epochs: str, own: str, steps: int) -> None:
    """Steps between two; in epochs they can be counted only where the images are here."""
    origin = draft.written(own)
    every = draft.number(own)
    if every:
        draft.put(f"{part}.every", int(every), origin)
    origin = draft.written(epochs)
    times = draft.number(epochs)
    if not times or every:
        return
    if steps:
        draft.put(f"{part}.every", int(times) * steps, origin)
    else:
        what = "an epoch" if times == 1 else f"{times:g} epochs"
        draft.blank(f"{part}.every", f"how many steps are {what}: images x repeats / batch", origin)


def _sample(draft: Draft, steps: int) -> None:
    origin = draft.written("sample_prompts")
    prompts = draft.take("sample_prompts")
    _every(draft, "sample", "sample_every_n_epochs", "sample_every_n_steps", steps)
    draft.flag("sample_at_first")
    if prompts:
        name = str(prompts)
        draft.blank("sample.prompts", f"the prompts of {name}, a list in quotes", origin)
    elif "sample.every" not in draft.values:
        draft.put("sample.every", 0, "no samples")


def _tables(draft: Draft) -> None:
    """What needs no thought: another name, a flag, not needed, or not to be had."""
    for name in list(draft.left):
        written = draft.written(name)
        if name in SAME:
            value = draft.take(name)
            draft.put(SAME[name], literal(value) if isinstance(value, str) else value, written)
        elif name in FLAGS:
            if draft.flag(name):
                draft.put(*FLAGS[name], written)
        elif name in NOT_NEEDED:
            draft.take(name)
            draft.unneeded.append((written, NOT_NEEDED[name]))
        elif name in INSTEAD and draft.flag(name):
            draft.instead.append((written, INSTEAD[name]))
