"""The course of the learning rate: the part of the full rate at each step. Pure functions.

Every schedule climbs from 0 over the warm-up and then goes its way over the steps that are left;
`done` is the part of those that lies behind, from 0 to below 1.
"""

import math
from collections.abc import Callable, Mapping

from schemas.recipes.train import OptimizerSection

Course = Callable[[float, OptimizerSection], float]


def rate_factor(step: int, total: int, section: OptimizerSection) -> float:
    """Return the part of the full learning rate at optimizer step `step`, counted from 0."""
    if step < section.warmup:
        return step / section.warmup
    done = (step - section.warmup) / max(1, total - section.warmup)
    return COURSES[section.schedule](min(1.0, done), section)


def _constant(done: float, section: OptimizerSection) -> float:
    return 1.0


def _linear(done: float, section: OptimizerSection) -> float:
    return 1.0 - done


def _cosine(done: float, section: OptimizerSection) -> float:
    """Half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    return 0.5 * (1 + math.cos(math.pi * done))


def _restarts(done: float, section: OptimizerSection) -> float:
    """`cycles` half cosines, each from the full rate (the same paper's warm restarts)."""
    return _cosine(done * section.cycles % 1.0, section) if done < 1 else 0.0


def _polynomial(done: float, section: OptimizerSection) -> float:
    return float((1.0 - done) ** section.power)


def _rex(done: float, section: OptimizerSection) -> float:
    """Reflected exponential (Chen, Wolfe, Kyrillidis 2021, arXiv:2107.04197)."""
    return (1.0 - done) / (1.0 - done / 2)


COURSES: Mapping[str, Course] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "restarts": _restarts,
    "polynomial": _polynomial,
    "rex": _rex,
}
