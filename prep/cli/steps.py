"""The chain with its last step, which needs the trainer's VAE and geometry."""

from collections.abc import Sequence

import pyarrow as pa

from prep import seals
from prep.chain import STEPS, Step
from prep.dataset import Dataset
from prep.seals import Drop, Seal
from schemas.files import fingerprint
from schemas.recipes.load import load_train
from schemas.recipes.train import TrainRecipe
from schemas.tables import MANIFEST
from train import latents as train_latents
from train.model import Model, find_model

STAGE = "latents"


def inputs(dataset: Dataset) -> str:
    """What shapes the latents: the images and their sizes, the geometry, the VAE's bytes."""
    recipe = _recipe(dataset)
    images = MANIFEST.read(dataset.manifest).select(["md5", "width", "height"])
    key = train_latents.vae_key(_model(dataset, recipe, download=False).vae_source)
    return fingerprint(_digest(images), recipe.latents.model_dump(mode="json"), key)


def latents(dataset: Dataset) -> Seal:
    """Encode what is missing; an image that cannot be encoded is dropped with its reason."""
    recipe = _recipe(dataset)
    model = _model(dataset, recipe, download=True)
    shaped_by = inputs(dataset)
    with seals.timed(dataset.root, STAGE):
        manifest = MANIFEST.read(dataset.manifest)
        key = train_latents.vae_key(model.vae_source)
        if train_latents.wanted(manifest, dataset.root, recipe, key):
            from train.device import find_device  # imports torch, which is mostly not needed here

            device = find_device("auto", "encoding latents")
            store = train_latents.encode(manifest, dataset.root, recipe, model.vae(), device, key)
        else:
            store = train_latents.stored(manifest, dataset.root, recipe, key)
        rows = manifest.select(["set", "md5"]).to_pylist()
        drops = [
            Drop(rows[row]["set"], rows[row]["md5"], *_reason(problem))
            for row, problem in store.problems.items()
        ]
        return seals.write_seal(
            dataset.root,
            STAGE,
            inputs=shaped_by,
            output=fingerprint(shaped_by, sorted(store.problems)),
            rows_in=manifest.num_rows,
            rows_out=manifest.num_rows - len(drops),
            drops=drops,
        )


def intact(dataset: Dataset) -> bool:
    """Whether every latent that the manifest wants is there."""
    recipe = _recipe(dataset)
    key = train_latents.vae_key(_model(dataset, recipe, download=False).vae_source)
    return not train_latents.wanted(MANIFEST.read(dataset.manifest), dataset.root, recipe, key)


ALL: Sequence[Step] = (*STEPS, Step(STAGE, ("manifest",), inputs, latents, intact))


def step(name: str) -> Step:
    """Return the step of this name."""
    return next(step for step in ALL if step.name == name)


def _recipe(dataset: Dataset) -> TrainRecipe:
    return load_train(dataset.train_file)


def _model(dataset: Dataset, recipe: TrainRecipe, *, download: bool) -> Model:
    return find_model(recipe.model, dataset.root, download=download)


def _digest(table: pa.Table) -> str:
    return fingerprint(*(column.to_pylist() for column in table.columns))


def _reason(problem: str) -> tuple[str, str]:
    """A problem's text as a reason, the same for all of a kind, and what is of this image only."""
    reason, _, detail = problem.partition(": ")
    return reason, detail
