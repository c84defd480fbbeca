"""What a run needs before its first step: models, adapter, data, latents, batches. All checked."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.errors import DataError, ModelError, RecipeError
from schemas.progress import say
from schemas.recipes.train import Precision, Sampler, TrainRecipe
from train import latents, text_cache
from train.adapter_file import read_adapter
from train.adapters.adapter import Adapter, attach_adapter
from train.attention import kernels
from train.averaging import Average
from train.batches import Batches
from train.checkpoint_file import SafetensorsFile
from train.compiling import check_compile, compile_blocks
from train.conditioning import true_sizes
from train.data import Data, read_data
from train.device import find_device
from train.frozen import big_layers, keep_as_fp8, keep_at_home
from train.model import Model, find_model
from train.optimizer import make_optimizer, restore
from train.precision import COMPUTE, LossScale
from train.run_folder import RunFolder, State, check_same, load_state, trim_log
from train.sample import Painter, check_size
from train.schedule import rate_factor
from train.text import Tokens
from train.text_cache import TextCache, varies
from train.variants import belied

SDXL_SKIP = 2  # clip_skip as SDXL was trained with
SHOWN = 3  # examples in a message
NO_PRIOR = 'loss.prior = "model" changes nothing: there are no regularization images'


@dataclass(frozen=True)
class After:
    """What a training goes on from that follows others on the same model."""

    adapters: Sequence[Path] = ()  # merged into the model, in this order, before anything else
    moments: Mapping[int, Any] = field(default_factory=dict)  # the optimizer's state, by weight
    course: Callable[[int], float] | None = None  # of the rate by step, instead of the recipe's


ALONE = After()  # nothing went before


@dataclass(frozen=True)
class Setup:
    """A run, ready to go on from `start`."""

    recipe: TrainRecipe
    folder: RunFolder
    device: torch.device
    model: Model
    model_sha256: str
    vae_sha256: str
    data: Data
    store: latents.LatentStore
    sizes: torch.Tensor  # float32 [2, places, 6], what SDXL is told: see conditioning.true_sizes
    batches: Batches
    validation: np.ndarray  # int64: rows that the loss is measured on
    steps: int  # optimizer steps in all
    forwards: int  # batches in all
    unet: Any
    text_encoders: tuple[Any, ...]
    texts: TextCache | None  # what captions were encoded to, where nothing of them varies
    tokens: Tokens
    vae: Any
    abar: torch.Tensor  # float32 [timesteps], on the device
    adapter: Adapter
    optimizer: torch.optim.Optimizer
    average: Average
    scale: LossScale
    start: State | None  # where to go on; None: from the beginning
    course: Callable[[int], float]  # the part of the full learning rate at each step

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """Return the manifest rows of these places' images."""
        rows: np.ndarray = self.store.placement.image[places]
        return rows

    def batches_by(self, step: int) -> int:
        """Return how many batches the first `step` steps take."""
        return min(step * self.recipe.steps.accumulate, self.forwards)

    @property
    def painter(self) -> Painter:
        """The parts that draw samples."""
        return Painter(
            self.unet,
            self.text_encoders,
            self.tokens,
            self.vae,
            self.model.scheduler(),
            self.recipe.model.clip_skip,
            self.device,
            self.recipe.sample.sampler,
        )


def setup(
    recipe: TrainRecipe,
    root: Path,
    *,
    resume: bool,
    overwrite: bool,
    device: str,
    after: After = ALONE,
) -> Setup:
    """Load and check everything; paths in the recipe start at `root`. No run folder is made yet.

    What is quick to find wrong is looked at first, the latents last. Raises RecipeError,
    DatasetError, DataError, ModelError or DeviceError.
    """
    begun = begin(
        recipe, root, resume=resume, overwrite=overwrite, device=device, merged=after.adapters
    )
    target, folder, data, model = begun.device, begun.folder, begun.data, begun.model
    unet, text_encoders, adapter = begun.unet, begun.text_encoders, begun.adapter
    optimizer, tokens = begun.optimizer, begun.tokens
    _tell_cut_prompts(recipe, tokens)
    if recipe.latents.flip and (told := belied(data.table)):
        say(told)
    model_sha256 = _hash_with(model.sha256(), after.adapters)
    start = load_state(folder) if resume else None
    if start is not None:
        check_same(folder, start, recipe, data.sha256, model_sha256)
    vae = model.vae()
    store = latents.encode(
        *(data.table, (root / recipe.data).parent, recipe, vae, target),
        latents.vae_key(model.vae_source),
    )
    vae.to("cpu")  # it comes to the device again to decode samples
    batches, validation = batches_of(
        recipe, data, store.placement.image, store.buckets, store.problems
    )
    if start is not None and start.batches != batches.sha256:
        raise DataError(
            f"{folder.path} cannot go on: other images have a latent now than when it began"
            f" ({len(store.problems)} are left out); put them back, or name another folder in `out`"
        )
    if recipe.loss.prior == "model" and not data.is_reg.any():
        say(NO_PRIOR)
    if recipe.loss.mask == "alpha":
        _tell_masks(store.opacity()[np.unique(store.placement.image[batches.places])])
    steps, forwards = length(recipe, batches)
    offload(recipe, target, unet, text_encoders, adapter)
    place(recipe, target, unet, text_encoders, adapter)
    if recipe.steps.compile:
        compile_blocks(unet)
    say(f"attention: {kernels(unet, target, COMPUTE[recipe.steps.precision])}")
    texts = None
    if encodes_once(recipe, data, adapter):
        texts = _texts(recipe, root, data, tokens, text_encoders, target, model_sha256)
    average = Average(list(adapter.parameters()), recipe.optimizer.ema)
    scale = LossScale(recipe.steps.precision, target)
    if start is None and after.moments:
        groups = optimizer.state_dict()["param_groups"]
        restore(optimizer, {"state": after.moments, "param_groups": groups}, target)
    if start is not None:
        adapter.load(start.adapter, str(folder.state))
        restore(optimizer, start.optimizer, target)
        average.load(start.average)
        scale.load(start.scale)
        trim_log(folder, start.step)
    return Setup(
        recipe=recipe,
        folder=folder,
        device=target,
        model=model,
        model_sha256=model_sha256,
        vae_sha256=model.vae_sha256(),
        data=data,
        store=store,
        sizes=torch.from_numpy(true_sizes(data.table, store.placement)),
        batches=batches,
        validation=validation,
        steps=steps,
        forwards=forwards,
        unet=unet,
        text_encoders=text_encoders,
        texts=texts,
        tokens=tokens,
        vae=vae,
        abar=model.scheduler().alphas_cumprod.to(target, torch.float32),
        adapter=adapter,
        optimizer=optimizer,
        average=average,
        scale=scale,
        start=start,
        course=after.course or (lambda step: rate_factor(step, steps, recipe.optimizer)),
    )


@dataclass(frozen=True)
class Begun:
    """What is loaded and checked before any latent is looked at."""

    device: torch.device
    folder: RunFolder
    data: Data
    model: Model
    unet: Any
    text_encoders: tuple[Any, ...]
    adapter: Adapter
    optimizer: torch.optim.Optimizer
    tokens: Tokens


def begin(
    recipe: TrainRecipe,
    root: Path,
    *,
    resume: bool,
    overwrite: bool,
    device: str,
    merged: Sequence[Path] = (),
    weights: bool = True,
) -> Begun:
    """Load and check what training and its plan begin with, what is quick to find wrong first.

    merged, weights: as `networks` takes them.
    """
    check_sample(recipe)
    target = find_device(device)
    check_compile(recipe, target)
    folder = RunFolder((root / recipe.out).resolve())
    folder.check(resume=resume, overwrite=overwrite)
    data = read_data(recipe, root / recipe.data)
    model = find_model(recipe.model, root)
    unet, text_encoders, adapter = networks(recipe, model, merged, weights=weights)
    if recipe.adapter.start and not resume:
        go_on_from(recipe, root, adapter)
    check_room(recipe, folder, adapter)
    optimizer = make_optimizer(recipe.optimizer, adapter.groups())
    tokens = load_tokens(model, text_encoders)
    return Begun(target, folder, data, model, unet, text_encoders, adapter, optimizer, tokens)


def networks(
    recipe: TrainRecipe, model: Model, merged: Sequence[Path] = (), *, weights: bool = True
) -> tuple[Any, tuple[Any, ...], Adapter]:
    """Return the U-Net and the text encoders, and the adapter beside their modules.

    merged: adapters of the recipe's kind that are added to the weights first, in fp32. Without
    weights all lie on the meta device, and little is read.
    """
    text_encoders = load_text_encoders(model, weights=weights)
    if names := recipe.model.offload:
        model.architecture.parse(names, conv=True, where=f'model.offload = "{names}"')
    unet = model.unet(weights=weights)
    for path in merged:
        earlier = attach_adapter(
            model.architecture, unet, text_encoders, recipe.adapter, recipe.seed
        )
        earlier.load(read_adapter(path)[0], str(path))
        earlier.merge()
    if recipe.model.storage == "fp8":
        for _, layer in big_layers(unet, text_encoders):
            keep_as_fp8(layer)
    adapter = attach_adapter(model.architecture, unet, text_encoders, recipe.adapter, recipe.seed)
    return unet, text_encoders, adapter if weights else adapter.to("meta")


def load_text_encoders(model: Model, *, weights: bool = True) -> tuple[Any, ...]:
    """Return the text encoders. Raises RecipeError where they have no layer such as clip_skip's."""
    skip = model.section.clip_skip
    if model.kind == "sdxl" and skip != SDXL_SKIP:
        raise RecipeError(
            f"model.clip_skip is {skip}, but SDXL models are trained on their encoders' last layer"
            f" but one: leave clip_skip at {SDXL_SKIP}"
        )
    text_encoders = model.text_encoders(weights=weights)
    layers = text_encoders[0].config.num_hidden_layers
    if skip > layers:
        raise RecipeError(
            f"model.clip_skip is {skip}, but the text encoder has only {layers} layers"
        )
    return text_encoders


def painter_of(
    model: Model, unet: Any, text_encoders: Sequence[Any], sampler: Sampler, device: torch.device
) -> Painter:
    """Return the parts that draw, with networks that lie on `device`."""
    return Painter(
        *(unet, text_encoders, load_tokens(model, text_encoders), model.vae()),
        *(model.scheduler(), model.section.clip_skip, device, sampler),
    )


def check_room(recipe: TrainRecipe, folder: RunFolder, adapter: Adapter) -> None:
    """Raise DiskError where the disk cannot hold the run's states."""
    weights = sum(weight.numel() for weight in adapter.parameters())
    folder.check_room(weights, weights if recipe.optimizer.ema else 0)


def _hash_with(model_sha256: str, merged: Sequence[Path]) -> str:
    """The hash of the model with these adapters in it, by the bytes of their tensors."""
    if not merged:
        return model_sha256
    files = [SafetensorsFile(path, f"adapter {path}") for path in merged]
    parts = [file.metadata.get("sshs_model_hash", "") for file in files]
    return hashlib.sha256(" ".join([model_sha256, *parts]).encode()).hexdigest()


def go_on_from(recipe: TrainRecipe, root: Path, adapter: Adapter) -> None:
    """Load the adapter that the recipe starts from. Raises ModelError when it is another kind."""
    path = root / recipe.adapter.start
    adapter.load(read_adapter(path)[0], f"adapter.start: {path}")


def load_tokens(model: Model, text_encoders: Sequence[Any]) -> Tokens:
    """Return the model's tokens. Raises ModelError when the tokenizer is of another model."""
    tokenizer = model.tokenizer()
    vocabulary = text_encoders[0].config.vocab_size
    if len(tokenizer) != vocabulary:
        raise ModelError(
            f"the tokenizer knows {len(tokenizer)} tokens and the text encoder {vocabulary}: they"
            " are of different models; name the model's own in model.tokenizer"
        )
    return Tokens(tokenizer)


def offload(
    recipe: TrainRecipe,
    device: torch.device,
    unet: Any,
    text_encoders: Sequence[Any],
    adapter: Adapter,
) -> None:
    """Leave the frozen weights of model.offload's blocks in main memory when the rest is placed."""
    if not (names := recipe.model.offload):
        return
    if device.type == "cpu":
        say("model.offload changes nothing on the CPU, whose memory is the main memory")
        return
    blocks = adapter.architecture.parse(names, conv=True, where=f'model.offload = "{names}"')
    for block, layer in list(big_layers(unet, text_encoders)):
        if block in blocks:
            keep_at_home(layer, device, COMPUTE[recipe.steps.precision])


def to_compute(bases: Sequence[Any], device: torch.device, precision: Precision) -> None:
    """Move frozen networks to the device in the precision of computing."""
    for base in bases:
        # torch's own `to`: diffusers' warns of an empty list of modules to be kept in fp32
        torch.nn.Module.to(base, device, COMPUTE[precision])


def place(
    recipe: TrainRecipe,
    device: torch.device,
    unet: Any,
    text_encoders: Sequence[Any],
    adapter: Adapter,
) -> None:
    """Move the models to the device in the precision of computing, the adapter in fp32."""
    to_compute((unet, *text_encoders), device, recipe.steps.precision)
    adapter.to(device)
    if recipe.steps.checkpointing:
        # both libraries compute a forward pass again only in training mode
        unet.enable_gradient_checkpointing()
        unet.train()
        for encoder in text_encoders:
            # transformers 5 calls it by another name, and will drop the old one
            old = encoder.gradient_checkpointing_enable
            getattr(encoder, "activation_checkpointing_enable", old)({"use_reentrant": False})
            encoder.train()


def encodes_once(recipe: TrainRecipe, data: Data, adapter: Adapter) -> bool:
    """Whether the text encoders run before the training alone, and then leave the device."""
    return not adapter.trains_text and not varies(recipe.caption, data)


def _texts(
    recipe: TrainRecipe,
    root: Path,
    data: Data,
    tokens: Tokens,
    text_encoders: Sequence[Any],
    device: torch.device,
    model_sha256: str,
) -> TextCache:
    """Encode the captions once; then the encoders leave the device, without samples memory too."""
    key = text_cache.key_of(recipe, model_sha256)
    place = (root / recipe.data).parent
    texts = text_cache.cached(place, recipe, data, tokens, text_encoders, device, key)
    for encoder in text_encoders:
        encoder.to("cpu" if recipe.sample.prompts else "meta")
    return texts


def length(recipe: TrainRecipe, batches: Batches) -> tuple[int, int]:
    """Return the optimizer steps and the batches (forward passes) of a whole run."""
    accumulate = recipe.steps.accumulate
    if recipe.steps.total:
        return recipe.steps.total, recipe.steps.total * accumulate
    forwards = recipe.steps.epochs * batches.per_epoch
    return -(-forwards // accumulate), forwards


def batches_of(
    recipe: TrainRecipe,
    data: Data,
    image: np.ndarray,
    buckets: np.ndarray,
    problems: Mapping[int, str],
) -> tuple[Batches, np.ndarray]:
    """Return the batches over what is trained on, and the rows held out. Tell what is left out.

    image, buckets: of each place the manifest row, and width and height, int [places, 2].
    problems: row -> why it has no latent.
    """
    usable = np.ones(data.table.num_rows, dtype=bool)
    if problems:
        usable[list(problems)] = False
        paths = data.table.column("path")
        shown = [f"{paths[row]}: {problems[row]}" for row in sorted(problems)[:SHOWN]]
        say(
            f"{len(problems)} of {data.table.num_rows} images are left out, having no"
            f" latent ({'; '.join(shown)}{'; ...' if len(problems) > SHOWN else ''})"
        )
        if not (usable & ~data.validation).any():
            raise DataError(f"no image has a latent to train on: {shown[0]}")
    if recipe.validation.share and not data.validation.any():
        say(f"validate.share = {recipe.validation.share} of so few images holds out none")
    places = np.flatnonzero((usable & ~data.validation)[image])
    shapes = buckets[places].astype(np.int64) @ np.array([1 << 20, 1])
    repeats = data.repeats[image[places]]
    batches = Batches(places, repeats, shapes, recipe.steps.batch, recipe.seed)
    return batches, np.flatnonzero(usable & data.validation)


def check_sample(recipe: TrainRecipe) -> None:
    """Raise RecipeError for samples that cannot be drawn."""
    check_size(recipe.sample.size, "sample.size")
    if recipe.sample.prompts and not recipe.sample.seeds:
        raise RecipeError("sample.seeds is empty: give a seed, or leave sample.prompts empty too")
    if recipe.sample.seeds and min(recipe.sample.seeds) < 0:
        raise RecipeError(f"sample.seeds holds {min(recipe.sample.seeds)}: seeds are 0 or more")


def _tell_masks(opacity: np.ndarray) -> None:
    """Say how many images a mask holds for; `opacity`: float32 [n], see LatentStore.opacity."""
    some, empty = int((opacity < 1).sum()), int((opacity == 0).sum())
    if not some:
        say('loss.mask = "alpha" changes nothing: no image is transparent anywhere')
        return
    none = f", {empty} of them everywhere, so that nothing is learnt there" if empty else ""
    say(f"{some} of {len(opacity)} images are learnt in part, being transparent somewhere{none}")


def _tell_cut_prompts(recipe: TrainRecipe, tokens: Tokens) -> None:
    for text in (*recipe.sample.prompts, recipe.sample.negative):
        if lost := tokens.prompt(text).lost:
            say(f'the last {lost} tags of the sample prompt "{text[:40]}..." are not read')
