"""A dataset as commands open it: with the tokenizer of its model, where captions are cut by it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prep.captions.tokens import Tokenizer
from prep.dataset import Dataset
from schemas.errors import KirokuError
from schemas.files import fingerprint
from schemas.recipes.load import load_train
from schemas.recipes.train import TrainRecipe
from schemas.tags import plain


def opened(root: Path | str = ".", changes: Sequence[str] = ()) -> Dataset:
    """Open a folder as Dataset.open does. Where the model is not here, it has no tokenizer."""
    dataset = Dataset.open(root, changes)
    if not dataset.recipe.caption.render.max_tokens:
        return dataset
    try:
        return replace(dataset, tokenizer=tokenizer_of(dataset)[0])
    except KirokuError:
        return dataset  # who needs it says so


def tokenizer_of(dataset: Dataset) -> tuple[Tokenizer, TrainRecipe]:
    """Return how the model of train.toml cuts tags, and that recipe; downloads nothing.

    Raises RecipeError or ModelError where there is none, or its model is not on this machine.
    """
    recipe = load_train(dataset.train_file)
    from train.model import find_model

    tokenizer = find_model(recipe.model, dataset.root, download=False).tokenizer()
    whole = sorted(tokenizer.get_vocab().items())
    return Tokenizer(lambda texts: _cut(tokenizer, texts), fingerprint(whole)), recipe


def _cut(tokenizer: Any, texts: Sequence[str]) -> list[tuple[str, ...]]:
    if not texts:
        return []
    # as training does: what is learnt is the tag, without the escapes of prompts
    ids = tokenizer(list(map(plain, texts)), add_special_tokens=False, verbose=False).input_ids
    return [tuple(tokenizer.convert_ids_to_tokens(one)) for one in ids]
