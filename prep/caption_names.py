"""Names in the recipe that would do something else than they say, or nothing: told in time."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import get_args

from prep.captions.knowledge import Knowledge
from schemas.progress import say
from schemas.recipes.prep import CaptionsSection, Place
from schemas.tags import canonical


def tell(recipe: CaptionsSection, names: Collection[str], knowledge: Knowledge) -> None:
    """Tell a person. `names`: all tags that posts and imports have or taggers know, canonical."""
    for sentence in (*_taken(recipe, names, knowledge), *_never_met(recipe, names, knowledge)):
        say(f"caption: {sentence}")


def _taken(recipe: CaptionsSection, names: Collection[str], knowledge: Knowledge) -> Iterator[str]:
    """What is renamed to another tag's name: the model has learnt that to mean something."""
    if "rename" not in recipe.rules:
        return
    for old, new in recipe.rename.items():
        name = canonical(new)
        known = name in names or name in knowledge.aliases or name in knowledge.categories
        if known and name not in (canonical(old), knowledge.present(canonical(old))):
            yield (
                f'rename calls "{old}" "{new}", which is a tag of its own with its own meaning;'
                ' a word that is none, such as "aav", is free for it'
            )


def _never_met(
    recipe: CaptionsSection, names: Collection[str], knowledge: Knowledge
) -> Iterator[str]:
    """What keep or tail name by another name than captions have."""
    renames = {canonical(old): new for old, new in recipe.rename.items()}
    added = {canonical(text) for words in recipe.added().values() for text in words}
    made = added | set(map(canonical, renames.values()))
    for key, given in (("keep", recipe.render.keep), ("tail", recipe.render.tail)):
        for text in given:
            name = canonical(text)
            if text in get_args(Place):
                continue
            if name in renames and "rename" in recipe.rules:
                yield f'render.{key} names "{text}", which rename calls "{renames[name]}" by then'
            elif "aliases" in recipe.rules and (present := knowledge.present(name)) != name:
                yield f'render.{key} names "{text}", which the site now calls "{present}"'
            elif name not in names and name not in made:
                near = get_close_matches(name, names, n=1, cutoff=0.8)
                hint = f'; did you mean "{near[0]}"?' if near else ""
                yield f'render.{key} names "{text}", which no image has{hint}'
