"""Where a tagger's files are: a folder on this machine, or a repository of the Hub."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from schemas.errors import ModelError
from schemas.files import sha256_of
from taggers.export import CONFIG, Scaling, read_scaling

MODEL, TAGS = "model.onnx", "selected_tags.csv"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Files:
    """The two files of a tagger, the config that may lie beside them, and the name people know."""

    model: Path
    tags: Path
    name: str
    config: Path | None = None

    @cached_property
    def key(self) -> str:
        """16 hex digits of SHA-256 over both files' bytes: what it is, whatever its name.

        Over the config's as well, where that wants pixels other than most taggers do.
        """
        files = [self.model, self.tags]
        if self.config is not None and self.scaling != Scaling():
            files.append(self.config)
        return sha256_of(*files)[:16]

    @cached_property
    def scaling(self) -> Scaling:
        """What a model with its channels first makes of pixels. Raises ModelError."""
        return Scaling() if self.config is None else read_scaling(self.config)


def locate(model: str | Path) -> Files:
    """The files of a folder, or of a Hub id: from the Hub's cache, else downloaded to it.

    Raises ModelError when a file is missing, or must be downloaded and cannot be.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _in_folder(folder)
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return _from_repository(model)
    raise ModelError(
        f"no tagger at {model}: give a folder that holds {MODEL} and {TAGS}, "
        "or a Hub id such as SmilingWolf/wd-swinv2-tagger-v3"
    )


def _in_folder(folder: Path) -> Files:
    missing = [name for name in (MODEL, TAGS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} is no tagger: it lacks {' and '.join(missing)}, "
            "which lie side by side in the model's repository"
        )
    config = folder / CONFIG
    name = folder.resolve().name
    return Files(folder / MODEL, folder / TAGS, name, config if config.is_file() else None)


def _from_repository(repository: str) -> Files:
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    known = isinstance(try_to_load_from_cache(repository, MODEL), str)
    model, tags = _from_hub(repository, MODEL), _from_hub(repository, TAGS)
    config = try_to_load_from_cache(repository, CONFIG)
    if config is None and not known:  # it comes with the model: who has that may be offline now
        try:
            config = hf_hub_download(repository, CONFIG)
        except errors.EntryNotFoundError:
            pass
        except Exception as error:
            raise ModelError(_why(error, repository, CONFIG)) from error
    return Files(model, tags, repository, Path(config) if isinstance(config, str) else None)


def _from_hub(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # httpx, OSError and the Hub's own, according to its version
        raise ModelError(_why(error, repository, name)) from error


def _why(error: Exception, repository: str, name: str) -> str:
    from huggingface_hub import errors

    by_hand = f"or download {MODEL} and {TAGS} elsewhere and give their folder"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the tagger {repository} is gated: accept its terms on the Hub "
            f"and log in with `hf auth login`, {by_hand}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"no tagger {repository}: there is no such folder here, and no such repository on the "
            "Hub (a private one needs `hf auth login`)"
        )
    status = getattr(getattr(error.__cause__ or error, "response", None), "status_code", None)
    if status is not None and not isinstance(error, errors.RemoteEntryNotFoundError):
        return (
            f"the Hub answered {status} when asked for {name} of {repository}: try again later, "
            f"{by_hand}"
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return (
            f"the tagger {repository} is not on this machine and the Hub cannot be reached for "
            f"{name}: connect once, {by_hand}"
        )
    if isinstance(error, errors.EntryNotFoundError | errors.RemoteEntryNotFoundError):
        return f"{repository} on the Hub is no WD14 tagger: it has no {name}"
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return f"{name} of the tagger {repository} could not be downloaded ({reason}): {by_hand[3:]}"
