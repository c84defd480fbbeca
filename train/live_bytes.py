"""How many bytes of tensors live at a time: counted as torch makes them and lets them go."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block counts the memory of tensors: `now` living, `most` at a time so far.

    What was there before is not counted, nor what an operation takes and gives back within itself.
    Works on real tensors as on fake ones, which have shapes and no memory.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._device = device
        self._living: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.prim.device.default:  # fake tensors are asked for theirs all the time
            return made
        before: set[int] | None = None
        for storage in self._storages(made):
            if id(storage) in self._living:
                continue
            if before is None:
                before = {id(given) for given in self._storages((args, kwargs))}
            if id(storage) not in before:
                self._living.add(id(storage))
                self.now += storage.nbytes()
                weakref.finalize(storage, self._let_go, id(storage), storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def _storages(self, tree: Any) -> list[torch.UntypedStorage]:
        if isinstance(tree, torch.Tensor):
            leaves = [tree]
        else:
            leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
        kind = self._device.type
        return [tensor.untyped_storage() for tensor in leaves if tensor.device.type == kind]

    def _let_go(self, storage: int, size: int) -> None:
        self._living.discard(storage)
        self.now -= size
