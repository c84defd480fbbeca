"""`prep gc`: what nothing wants, over the whole dataset folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from prep.dataset import Dataset
from prep.download import PART
from prep.lock import locked
from prep.probabilities import keys_of
from schemas.errors import KirokuError
from schemas.files import ASIDE
from schemas.progress import say
from schemas.recipes.load import load_train
from schemas.tables import MANIFEST, MEMBERS
from train import latents
from train.model import find_model


def gc(dataset: Dataset, *, images: bool = False, dry_run: bool = False) -> int:
    """Remove what no stage would read again; return its bytes."""
    with locked(dataset.root):
        freed = sum(_remove(path, dataset.root, dry_run) for path in _unwanted(dataset))
        if images:
            freed += _gc_images(dataset, dry_run)
        if not dry_run:
            freed += _gc_latents(dataset) + _gc_texts(dataset)
    return freed


def _unwanted(dataset: Dataset) -> Iterator[Path]:
    """Files a kill left behind, other taggers' probabilities, hashes of an earlier kind."""
    for name in ("images", "tables", "latents", "texts", "reports", "experiments"):
        yield from sorted((dataset.root / name).rglob(f"*{ASIDE}"))
    yield from sorted((dataset.root / "images").rglob(f"*{PART}"))
    wanted = set(keys_of(dataset).values())
    for folder in sorted((dataset.root / "tables" / "probs").glob("*/")):
        if wanted and folder.name not in wanted:
            yield folder
    hashes = dataset.hashes.folder
    yield from (path for path in sorted(hashes.parent.glob("*")) if path != hashes)


def _gc_images(dataset: Dataset, dry_run: bool) -> int:
    """Originals that belong to no set: an earlier query's, or above a lowered limit.

    An image that another stands in for stays, so that `prep replace --undo` has it.
    """
    members = set(dataset.table(MEMBERS).column("md5").to_pylist())
    members |= set(dataset.members().column("md5").to_pylist())
    rows = dataset.images.read().to_pylist()
    unwanted = [row for row in rows if row["md5"] not in members and not row["problem"]]
    freed = sum(_remove(dataset.root / row["path"], dataset.root, dry_run) for row in unwanted)
    if not dry_run:
        dataset.images.keep({row["md5"] for row in rows} - {row["md5"] for row in unwanted})
    return freed


def _gc_latents(dataset: Dataset) -> int:
    try:
        recipe = load_train(dataset.train_file)
        manifest = MANIFEST.read(dataset.manifest)
        model = find_model(recipe.model, dataset.root, download=False)
    except KirokuError as error:
        say(f"gc: latents are left alone: {error}")
        return 0
    key = latents.vae_key(model.vae_source)
    return latents.gc(dataset.root, {key: latents.keys(manifest, recipe)})


def _gc_texts(dataset: Dataset) -> int:
    """Encodings of captions by other models, or in other precisions, than train.toml names."""
    if not (dataset.root / "texts").is_dir():
        return 0
    from train import text_cache  # imports torch, which is mostly not needed here

    try:
        recipe = load_train(dataset.train_file)
        model = find_model(recipe.model, dataset.root, download=False)
    except KirokuError as error:
        say(f"gc: texts are left alone: {error}")
        return 0
    return text_cache.gc(dataset.root, text_cache.key_of(recipe, model.sha256()))


def _remove(path: Path, root: Path, dry_run: bool) -> int:
    if not path.exists():
        return 0
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    say(f"{'would remove' if dry_run else 'remove'} {path.relative_to(root).as_posix()}")
    if not dry_run:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    return size
