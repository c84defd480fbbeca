"""What this machine can do: torch, onnxruntime, disk, site, account; and what to install."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prep.booru.client import BooruClient
from prep.booru.credentials import credentials, user_file
from schemas.errors import KirokuError
from schemas.recipes.load import PREP_FILE, load_prep
from schemas.recipes.prep import FetchSection

CUDA = "CUDAExecutionProvider"
LITTLE = 10_000_000_000  # bytes of free disk below which a set of a few thousand images is tight


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `well`: the chain can work with it; a remedy may make it better."""

    name: str
    found: str
    well: bool = True
    remedy: str = ""


def doctor(folder: Path) -> list[Finding]:
    """Look at the machine, and at the site of the dataset in `folder` if there is one."""
    looks: list[Callable[[], Finding]] = [
        _python,
        _torch,
        _onnxruntime,
        lambda: _disk(folder),
        lambda: _recipe(folder),
        _account,
        lambda: _site(folder),
    ]
    return [look() for look in looks]


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()} on {platform.system()}")


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        first = str(error).splitlines()[0]
        return Finding("torch", f"cannot be loaded ({first})", False, "pip install torch")
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        memory = card.total_memory / 2**30
        return Finding("torch", f"{torch.__version__}, CUDA on {card.name}, {memory:.0f} GiB")
    return Finding(
        "torch",
        f"{torch.__version__}, CPU only",
        remedy="with an NVIDIA card, install a CUDA build: https://pytorch.org/get-started/locally",
    )


def _onnxruntime() -> Finding:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        first = str(error).splitlines()[0]
        return Finding("onnxruntime", f"cannot be loaded ({first})", False, "pip install kiroku")
    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    )
    remedy = ""
    if CUDA not in onnxruntime.get_available_providers():
        remedy = "with an NVIDIA card: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    return Finding("onnxruntime", f"{onnxruntime.__version__}, offers {providers}", remedy=remedy)


def _disk(folder: Path) -> Finding:
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(there).free
    remedy = "44,000 originals take about 130 GB" if free < LITTLE else ""
    return Finding("disk", f"{free / 1e9:,.0f} GB free at {there}", free > LITTLE / 10, remedy)


def _recipe(folder: Path) -> Finding:
    if not (folder / PREP_FILE).is_file():
        return Finding("dataset", f"none in {folder.resolve()}", remedy="make one with `prep init`")
    try:
        sets = load_prep(folder / PREP_FILE).sets
    except KirokuError as error:
        return Finding("dataset", "its recipe cannot be read", False, str(error))
    return Finding("dataset", f"{folder.resolve()}, sets {', '.join(sets)}")


def _account() -> Finding:
    try:
        account = credentials()
    except KirokuError as error:
        return Finding("account", "credentials are not complete", False, str(error))
    if account:
        return Finding("account", f"{account.login}, with an API key")
    where = f"set KIROKU_LOGIN and KIROKU_API_KEY, or write login and api_key to {user_file()}"
    return Finding("account", "none: 2 tags in a query", remedy=f"for more, {where}")


def _site(folder: Path) -> Finding:
    options = FetchSection()
    try:
        if (folder / PREP_FILE).is_file():
            options = load_prep(folder / PREP_FILE).fetch
        client = BooruClient(options.site, credentials())
        client.reach()
        return Finding("site", f"{options.site} answers, account level {client.level()}")
    except KirokuError as error:
        return Finding("site", f"{options.site} does not answer us", False, str(error))
