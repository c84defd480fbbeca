"""A query as a tree. Nodes are frozen, and made by functions that keep one form for one meaning.

all_of(), any_of(), negated() flatten nests, drop single members' wrappers, and undo a double
"-", so that a query which is written out and read again is equal to what it was.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tag:
    """Posts that have this tag. `name` is in lower case; `at`: where it stands in the text."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Wildcard:
    """Posts that have a tag of this form; `*` stands for any letters, none included."""

    pattern: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Metatag:
    """Posts of which `name:value` holds, such as score:>=6. A quoted value is no keyword."""

    name: str
    value: str
    quoted: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    """Posts of which the child does not hold."""

    child: "Node"


@dataclass(frozen=True)
class And:
    """Posts of which all children hold; without children: every post."""

    children: tuple["Node", ...]


@dataclass(frozen=True)
class Or:
    """Posts of which at least one child holds."""

    children: tuple["Node", ...]


Term = Tag | Wildcard | Metatag
Node = Tag | Wildcard | Metatag | Not | And | Or

EVERYTHING = And(())


@dataclass(frozen=True)
class Query:
    """What is asked for: which posts, in what order, and how many at most (0: all).

    order: the value of `order:`, in lower case; "" where there is none (the site: newest first).
    text: as it was written, for messages.
    """

    where: Node
    order: str = ""
    limit: int = 0
    text: str = field(default="", compare=False)


def all_of(nodes: Iterable[Node]) -> Node:
    """Return the node that holds where every one of `nodes` does."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.children if isinstance(node, And) else (node,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(nodes: Iterable[Node]) -> Node:
    """Return the node that holds where at least one of `nodes` does; there must be one."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.children if isinstance(node, Or) else (node,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(node: Node) -> Node:
    """Return the node that holds where `node` does not."""
    return node.child if isinstance(node, Not) else Not(node)


def clauses(node: Node) -> tuple[Node, ...]:
    """Return what must all hold: the members of the outermost "and"."""
    return node.children if isinstance(node, And) else (node,)


def terms(node: Node) -> Iterator[Term]:
    """Yield the tags, wildcards and metatags of a tree from left to right."""
    match node:
        case Not(child):
            yield from terms(child)
        case And(children) | Or(children):
            for child in children:
                yield from terms(child)
        case _:
            yield node


def tag_names(node: Node) -> frozenset[str]:
    """Return the names of all plain tags of a tree."""
    return frozenset(term.name for term in terms(node) if isinstance(term, Tag))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return the tree with tags called by other names, where `names` has one."""
    match node:
        case Tag(name, at):
            return Tag(names.get(name, name), at)
        case Not(child):
            return Not(renamed(child, names))
        case And(children):
            return And(tuple(renamed(child, names) for child in children))
        case Or(children):
            return Or(tuple(renamed(child, names) for child in children))
        case _:
            return node
