"""The base of every recipe section: frozen, unknown keys refused, each field with its comment."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of a recipe file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
