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
    say(f"{task} on {torch.cuda.get_device_name()}")
    return torch.device("cuda")
