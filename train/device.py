"""The device that the work is done on."""

import torch

from schemas.errors import DeviceError
from schemas.progress import say


def find_device(name: str, task: str = "training") -> torch.device:
    """Return "cpu", "cuda", or for "auto" the better one, and say that `task` runs there.

    Raises DeviceError when CUDA is demanded and not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        built = torch.version.cuda or "none"
        raise DeviceError(
            f"there is no CUDA device for torch {torch.__version__} (built for CUDA: {built}):"
            " install a CUDA build of torch (https://pytorch.org/get-started/locally), or use"
            " --device cpu"
        )
    if name == "cpu" or not there:
        say(f"{task} on the CPU")
        return torch.device("cpu")
    found = torch.device("cuda")
    say(f"{task} on {name_of(found)}")
    return found


def name_of(device: torch.device) -> str:
    """What people call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def forget_memory() -> None:
    """Let `most_memory` count from now on."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def most_memory(device: torch.device) -> int:
    """Return the bytes that tensors took on a CUDA device at most; 0 on another, not known."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
