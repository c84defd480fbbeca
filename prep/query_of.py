"""`query_of`: the query of another set without what it is about, for regularization."""

from prep.query.ast import Tag, all_of, clauses, negated
from prep.query.parse import parse
from prep.query.render import render
from schemas.errors import QueryError, RecipeError
from schemas.recipes.prep import PrepRecipe


def with_queries(recipe: PrepRecipe) -> PrepRecipe:
    """Return the recipe with a query written out for each set that takes another's.

    Raises RecipeError where that has no tag to be without.
    """
    written = {}
    for name, part in recipe.sets.items():
        if part.query_of:
            try:
                query = without_subject(recipe.sets[part.query_of].query)
            except QueryError as error:
                raise RecipeError(f'set "{name}", query_of "{part.query_of}": {error}') from None
            written[name] = part.model_copy(update={"query": query})
    return recipe.model_copy(update={"sets": {**recipe.sets, **written}}) if written else recipe


def without_subject(text: str) -> str:
    """Return a query for what another finds, but for its first tag, which nothing may have.

    Raises QueryError.
    """
    query = parse(text)
    every = list(clauses(query.where))
    subject = next((clause for clause in every if isinstance(clause, Tag)), None)
    if subject is None:
        raise QueryError(f'"{text}" has no plain tag that it is about: write the query out instead')
    every[every.index(subject)] = negated(subject)
    return render(type(query)(all_of(every), query.order, query.limit))
