"""`[optimizer]`: name, rates, arguments and schedule."""

from typing import Any

from train.convert.draft import Draft
from train.convert.settings import literal

NAMES = {
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "pagedadamw": "PagedAdamW",
    "pagedadamw8bit": "PagedAdamW8bit",
    "pagedadamw32bit": "PagedAdamW32bit",
    "lion": "Lion",
    "lion8bit": "Lion8bit",
    "pagedlion8bit": "PagedLion8bit",
    "sgdnesterov": "SGD",
    "sgdnesterov8bit": "SGD8bit",
    "dadaptation": "DAdaptAdam",
    "dadaptadampreprint": "DAdaptAdam",
    "dadaptadam": "DAdaptAdam",
    "dadaptadagrad": "DAdaptAdaGrad",
    "dadaptadan": "DAdaptAdan",
    "dadaptlion": "DAdaptLion",
    "dadaptsgd": "DAdaptSGD",
    "prodigy": "Prodigy",
    "adafactor": "Adafactor",
    "adamwschedulefree": "ScheduleFreeAdamW",
    "sgdschedulefree": "ScheduleFreeSGD",
    "radamschedulefree": "ScheduleFreeRAdam",
}
SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "restarts",
    "polynomial": "polynomial",
    "rex": "rex",
}
# of the libraries that sd-scripts uses, and in pytorch-optimizer
ARGUMENTS = {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"}
RATE = 2e-6  # sd-scripts' default


def optimizer(draft: Draft) -> None:
    """Put the keys of [optimizer]."""
    written = draft.written("optimizer_type")
    name = str(draft.take("optimizer_type") or "")
    eight, lion = draft.flag("use_8bit_adam"), draft.flag("use_lion_optimizer")
    name = name or ("AdamW8bit" if eight else "Lion" if lion else "AdamW")
    own = NAMES.get(name.lower().replace("_", ""), name.rpartition(".")[2])
    draft.put("optimizer.name", own, written)
    _rates(draft)
    arguments = _arguments(draft)
    if name.lower().startswith("sgdnesterov"):
        arguments = {"nesterov": True, "momentum": 0.9, **arguments}
    if arguments:
        draft.put("optimizer.args", arguments)
    _schedule(draft)
    clip = draft.number("max_grad_norm")
    if clip is not None:
        draft.put("optimizer.clip", clip)


def _rates(draft: Draft) -> None:
    origin = draft.written("unet_lr") or draft.written("learning_rate") or f"not given: {RATE:g}"
    usual = draft.number("learning_rate")
    unet = draft.number("unet_lr")
    rate = next((one for one in (unet, usual) if one is not None), RATE)
    draft.put("optimizer.lr", rate, origin)
    given = draft.take("text_encoder_lr")
    rates = [literal(str(one)) for one in (given if isinstance(given, list) else [given])]
    rates = [one for one in rates if isinstance(one, int | float)]
    if len(set(rates)) > 1:
        draft.notes.append(
            f"text_encoder_lr gives the encoders {' and '.join(f'{one:g}' for one in rates)}:"
            " here both have the first rate"
        )
    text = rates[0] if rates else usual
    if text is not None and text != rate:
        draft.put("optimizer.text_encoder_lr", text)


def _arguments(draft: Draft) -> dict[str, Any]:
    given = draft.take("optimizer_args") or []
    pairs = (str(one).partition("=") for one in given)
    values = {
        ARGUMENTS.get(name.strip(), name.strip()): literal(value.strip())
        for name, _, value in pairs
    }
    return {name: list(one) if isinstance(one, tuple) else one for name, one in values.items()}


def _schedule(draft: Draft) -> None:
    written = draft.written("lr_scheduler")
    name = str(draft.take("lr_scheduler") or "constant")
    if name not in SCHEDULES:
        draft.instead.append((written, "not here: schedule is constant until another is chosen"))
    draft.put("optimizer.schedule", SCHEDULES.get(name, "constant"), written)
    warmup = draft.number("lr_warmup_steps")
    if warmup and name == "constant":
        draft.notes.append(
            "sd-scripts' constant has no warm-up: lr_warmup_steps did nothing there and is left out"
        )
    elif warmup and warmup < 1:
        draft.blank("optimizer.warmup", f"steps of warm-up: {warmup:g} of all steps")
    elif warmup:
        draft.put("optimizer.warmup", int(warmup))
    cycles, power = draft.number("lr_scheduler_num_cycles"), draft.number("lr_scheduler_power")
    if cycles and name == "cosine_with_restarts":
        draft.put("optimizer.cycles", int(cycles))
    if power and name == "polynomial":
        draft.put("optimizer.power", power)
