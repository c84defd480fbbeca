"""Finding a model, and what is said of one that cannot be trained on."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelError
from schemas.recipes.train import ModelSection
from train.model import find_model
from train.setup import load_tokens


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "models" / "copy"))


def refused(path: str, root: Path, vae: str = "") -> str:
    with pytest.raises(ModelError) as caught:
        find_model(ModelSection(path=path, vae=vae), root)
    return str(caught.value)


def test_paths_start_at_the_recipes_folder(copy: Path) -> None:
    found = find_model(ModelSection(path="models/copy"), copy.parents[1])
    assert found.parts.folder == copy
    assert found.vae_source.folder == copy / "vae"
    assert found.sha256() == find_model(ModelSection(path=str(copy)), Path()).sha256()


@pytest.mark.parametrize("vae", ["models/copy", "models/copy/vae"])
def test_another_vae_may_be_a_vae_or_a_whole_model(model: Path, copy: Path, vae: str) -> None:
    found = find_model(ModelSection(path=str(model), vae=vae), copy.parents[1])
    assert found.vae_source.folder == copy / "vae"


def test_parts_are_frozen_fp32(copy: Path) -> None:
    half = {
        k: v.half() for k, v in load_file(copy / "vae/diffusion_pytorch_model.safetensors").items()
    }
    save_file(half, copy / "vae/diffusion_pytorch_model.safetensors")
    found = find_model(ModelSection(path=str(copy)), Path())
    for part in (found.unet(), found.vae(), *found.text_encoders()):
        assert {weight.dtype for weight in part.parameters()} == {torch.float32}
        assert not any(weight.requires_grad for weight in part.parameters())


def test_fp16_variants_are_read(copy: Path) -> None:
    plain = copy / "unet/diffusion_pytorch_model.safetensors"
    plain.rename(plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert find_model(ModelSection(path=str(copy)), Path()).unet().config.layers_per_block == 2


def sdxl(copy: Path) -> None:
    (copy / "text_encoder_2").mkdir()


def without_unet(copy: Path) -> None:
    shutil.rmtree(copy / "unet")


def flux(copy: Path) -> None:
    shutil.rmtree(copy / "unet")
    (copy / "transformer").mkdir()
    (copy / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')


def refiner(copy: Path) -> None:
    (copy / "text_encoder").rename(copy / "text_encoder_2")


def unet_of(**changes: object) -> Callable[[Path], None]:
    def change(copy: Path) -> None:
        config = copy / "unet" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    return change


def says(**schedule: object) -> Callable[[Path], None]:
    def change(copy: Path) -> None:
        config = copy / "scheduler" / "scheduler_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | schedule))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            flux,
            "model.path models/copy is another kind of model (FluxPipeline): kiroku trains SD1.5"
            " and SDXL",
        ),
        (
            refiner,
            "model.path models/copy is SDXL's refiner: give the base model, which adapters are"
            " trained on",
        ),
        (
            unet_of(in_channels=9),
            "model.path models/copy is an inpainting model (its U-Net takes 9 channels): give the"
            " plain checkpoint, whose adapters work on both",
        ),
        (
            unet_of(cross_attention_dim=1024),
            "model.path models/copy is a Stable Diffusion 2 model: kiroku trains SD1.5 and SDXL",
        ),
        (
            unet_of(layers_per_block=1),
            "model.path models/copy is built otherwise than SD1.5: its U-Net has 4 levels of 1"
            " layers, not 4 of 2, so that its blocks have no names",
        ),
        (
            says(prediction_type="v_prediction"),
            'model.path models/copy says that it predicts v: set model.prediction = "v", or it'
            " learns nothing but noise",
        ),
        (
            says(rescale_betas_zero_snr=True),
            "model.path models/copy says that it was trained with zero terminal SNR: set"
            " model.zero_terminal_snr = true",
        ),
        (
            sdxl,
            "model.path models/copy is built otherwise than SDXL: its U-Net has 4 levels of 2"
            " layers, not 3 of 2, so that its blocks have no names",
        ),
        (
            without_unet,
            "model.path models/copy is no diffusers model: it lacks unet",
        ),
    ],
)
def test_other_folders_are_refused(copy: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(copy)
    assert refused("models/copy", copy.parents[1]) == message


def test_a_configuration_that_is_no_json_is_named(copy: Path) -> None:
    (copy / "unet" / "config.json").write_text("<html>")
    assert refused(str(copy), Path()) == (
        f"{copy / 'unet' / 'config.json'} is no JSON: get the model again"
    )


def test_a_tokenizer_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    from prep.demo.tokenizer import write_tokenizer

    write_tokenizer(tmp_path / "other", ["hat"])
    section = ModelSection(path=str(model), tokenizer="other")
    found = find_model(section, tmp_path)
    encoders = found.text_encoders()
    known, needed = len(found.tokenizer()), encoders[0].config.vocab_size
    assert known != needed
    message = (
        f"the tokenizer knows {known} tokens and the text encoder {needed}: they are of different"
        " models; name the model's own in model.tokenizer"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_tokens(found, encoders)


def test_what_is_not_there_or_no_folder_is_refused(model: Path, tmp_path: Path) -> None:
    assert refused("nowhere", tmp_path) == (
        "model.path nowhere is missing: give a .safetensors or .ckpt file, a diffusers folder, or a"
        " Hub id (owner/name)"
    )
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert refused("a.safetensors", tmp_path).startswith(
        "model.path a.safetensors is no safetensors file ("
    )
    (tmp_path / "empty").mkdir()
    assert refused(str(model), tmp_path, vae="empty") == (
        "model.vae empty is no diffusers VAE: it has no config.json"
    )
    assert refused(str(model), tmp_path, vae=str(model / "unet")) == (
        f"model.vae {model / 'unet'} is no diffusers VAE, but a UNet2DConditionModel"
    )


HUB = """
from pathlib import Path
from schemas.errors import ModelError
from schemas.recipes.train import ModelSection
from train.model import find_model
try:
    found = find_model(ModelSection(path="someone/some-model"), Path())
    print(found.parts.folder)
except ModelError as error:
    print(error)
"""


def with_hub(endpoint: str, cache: Path) -> str:
    """What finding a model says in a process that takes `endpoint` for the Hub."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
    found = subprocess.run(
        [sys.executable, "-c", HUB],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


class Hub(BaseHTTPRequestHandler):
    """The Hub's listing and files, over one model folder."""

    folder: Path
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/api/models/someone/some-model/"):
            files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
            names = [path.relative_to(self.folder).as_posix() for path in files]
            tree = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
                for name, path in zip(names, files, strict=True)
            ]
            siblings = [{"rfilename": name} for name in names]
            whole = {"id": "someone/some-model", "sha": "0" * 40, "siblings": siblings}
            listing = tree if "/tree/" in self.path else whole
            self.send(json.dumps(listing).encode(), "listing", body)
        elif name := self.path.partition(f"/resolve/{'0' * 40}/")[2]:
            data = (self.folder / name).read_bytes()
            self.send(data, hashlib.sha256(data).hexdigest(), body)
        else:
            self.send_error(404)

    def send(self, data: bytes, etag: str, body: bool) -> None:
        self.send_response(200)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": "0" * 40, "Content-Length": len(data)}
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_hub_id_is_downloaded_without_what_is_not_needed(copy: Path, tmp_path: Path) -> None:
    unet = copy / "unet"
    plain = unet / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, unet / "diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(plain, unet / "diffusion_pytorch_model.bin")
    handler = type("OneHub", (Hub,), {"folder": copy, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        folder = with_hub(f"http://127.0.0.1:{server.server_port}", tmp_path / "hub")
    finally:
        server.shutdown()
        server.server_close()
    there, here = (find_model(ModelSection(path=path), Path()) for path in (folder, str(copy)))
    assert there.sha256() == here.sha256()
    weights = (model.unet().state_dict() for model in (there, here))
    assert all(map(torch.equal, *(one.values() for one in weights)))
    files = {path.rpartition("/resolve/")[2] for path in handler.asked if "/resolve/" in path}
    assert any(name.endswith("unet/diffusion_pytorch_model.safetensors") for name in files)
    assert not any("fp16" in name or name.endswith(".bin") for name in files)


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    assert with_hub("http://127.0.0.1:9", tmp_path) == (
        "model.path someone/some-model is no folder here, and the Hugging Face Hub did not give it"
        " (LocalEntryNotFoundError): check the name, the connection, and whether the model wants a"
        " login"
    )


def test_cut_weights_are_refused(copy: Path) -> None:
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    found = find_model(ModelSection(path=str(copy)), Path())
    with pytest.raises(ModelError, match=f"^{re.escape(str(copy / 'unet'))} cannot be loaded: "):
        found.unet()


@pytest.mark.parametrize(
    ("part", "load", "file", "first"),
    [
        ("unet", "unet", "diffusion_pytorch_model.safetensors", "conv_in.bias"),
        ("text_encoder", "text_encoders", "model.safetensors", "embeddings.token_embedding.weight"),
    ],
)
def test_missing_weights_are_never_drawn_at_random(
    copy: Path, part: str, load: str, file: str, first: str
) -> None:
    weights = load_file(copy / part / file)
    gone = next(name for name in weights if name.endswith(first))
    del weights[gone]
    save_file(weights, copy / part / file, {"format": "pt"})
    found = find_model(ModelSection(path=str(copy)), Path())
    with pytest.raises(ModelError) as caught:
        getattr(found, load)()
    assert re.fullmatch(
        rf"{re.escape(str(copy / part))} lacks 1 of the weights that its config.json asks for,"
        rf" \S*{re.escape(first)} first: get the model again",
        str(caught.value),
    )


def test_weights_of_other_shapes_are_refused(copy: Path) -> None:
    config = json.loads((copy / "unet/config.json").read_text())
    config["cross_attention_dim"] = 96
    (copy / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"^{re.escape(str(copy / 'unet'))} cannot be loaded: "):
        find_model(ModelSection(path=str(copy)), Path()).unet()
