"""Models on the Hugging Face Hub: what is taken from there, and when."""

from pathlib import Path

from schemas.errors import ModelError
from schemas.progress import say

FILES = [
    "model_index.json",
    *(
        f"{part}/*.json"
        for part in (
            *("unet", "vae", "text_encoder", "text_encoder_2"),
            *("tokenizer", "tokenizer_2", "scheduler"),
        )
    ),
    *(f"{part}/*.safetensors" for part in ("unet", "vae", "text_encoder", "text_encoder_2")),
    "tokenizer/*.txt",
]
VARIANTS = ["*.fp16*", "*.non_ema*"]  # of weights that are also there whole
TOKENIZERS = (  # where CLIP's tokenizer lies, which SD1.5 and SDXL share: repository, folder
    ("openai/clip-vit-large-patch14", ""),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "tokenizer/"),
    ("stabilityai/stable-diffusion-xl-base-1.0", "tokenizer/"),
)
TOKENIZER_FILES = ("vocab.json", "merges.txt")


def is_hub_id(path: str) -> bool:
    """Whether it reads as owner/name."""
    parts = path.split("/")
    return len(parts) == 2 and all(parts) and parts[0].strip(".~") != "" and "\\" not in path


def cached(name: str, key: str) -> Path:
    """Return the folder of a model that was downloaded before. Raises ModelError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except Exception:  # the Hub's own errors, which differ by version
        raise ModelError(f"{key} {name} is not downloaded yet") from None


def download(name: str, key: str) -> Path:
    """Return the folder of a model, downloading what is not in the cache. Raises ModelError."""
    from huggingface_hub import snapshot_download

    say(f"{key} {name} is no folder here: it is taken from the Hugging Face Hub")
    try:
        folder = Path(snapshot_download(name, allow_patterns=FILES, ignore_patterns=VARIANTS))
        if not any(folder.glob("unet/*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=FILES))
        return folder
    except Exception as error:  # the Hub's own, its HTTP library's by version, the disk's
        raise ModelError(
            f"{key} {name} is no folder here, and the Hugging Face Hub did not give it"
            f" ({type(error).__name__}): check the name, the connection, and whether the model"
            " wants a login"
        ) from error


def clip_tokenizer(path: str) -> Path:
    """Return a folder with CLIP's tokenizer, from the Hub's cache, else from the Hub itself.

    path: the recipe's model, which has none with it. Raises ModelError.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    for repository, folder in TOKENIZERS:
        found = [try_to_load_from_cache(repository, folder + name) for name in TOKENIZER_FILES]
        if all(isinstance(file, str) for file in found):
            return Path(str(found[0])).parent
    repository, folder = TOKENIZERS[0]
    try:
        files = [hf_hub_download(repository, folder + name) for name in TOKENIZER_FILES]
        return Path(files[0]).parent
    except Exception as error:  # the Hub's own, its HTTP library's by version, the disk's
        raise ModelError(
            f"model.path {path} has no tokenizer with it, and the Hugging Face Hub did not give"
            f" {repository} ({type(error).__name__}): name a folder with vocab.json and merges.txt"
            " of that repository in model.tokenizer"
        ) from error
