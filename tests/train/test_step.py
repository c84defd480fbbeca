"""One step against a plain computation that shares no code with ours; what a step may change."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from schemas.recipes.train import AdapterSection, TrainRecipe
from schemas.tables import MANIFEST
from train.batches import Batch
from train.captions import COUNTED
from train.setup import Setup, setup
from train.step import batch_losses, losses_at, train_step

Make = Callable[..., TrainRecipe]


def ready(recipe: TrainRecipe, dataset: Path) -> Setup:
    return setup(recipe, dataset, resume=False, overwrite=False, device="cpu")


def wake(run: Setup) -> None:
    """Give the factors values as after training: `up` no longer zero."""
    generator = torch.Generator().manual_seed(1)
    for weight in run.adapter.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.05


ATTENTION = r".*attentions.*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|net\.0\.proj|net\.2)"
CONV = r"|.*(resnets\.\d+\.(conv1|conv2|time_emb_proj|conv_shortcut)|samplers\.0\.conv)"
WIDE = r".*(conv1|conv2|samplers\.0\.conv)"
LAYERS = r".*encoder\.layers.*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
PARTS = {  # peft's names of what our layers call
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora_magnitude_vector.default.weight": "magnitude",
}


def peft_twin(model: Path, run: Setup) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """The same models with peft's layers at the same weights, and these by our names."""
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import CLIPTextModel

    asked = run.recipe.adapter
    unet = UNet2DConditionModel.from_pretrained(model / "unet", low_cpu_mem_usage=False)
    text = CLIPTextModel.from_pretrained(model / "text_encoder")
    config: dict[str, Any] = {"r": asked.dim, "lora_alpha": asked.alpha}
    config["use_dora"] = asked.kind == "dora"
    wide = {
        "rank_pattern": {WIDE: asked.conv_dim},
        "alpha_pattern": {WIDE: asked.conv_alpha},
    }
    parameters: dict[str, torch.Tensor] = {}
    for base, more, prefix in (
        (
            unet,
            {"target_modules": ATTENTION + CONV, **wide}
            if asked.conv_dim
            else {"target_modules": ATTENTION},
            "lora_unet_",
        ),
        (text, {"target_modules": LAYERS}, "lora_te_text_model_"),
    ):
        base.requires_grad_(False)
        inject_adapter_in_model(LoraConfig(**config, **more), base)
        for path, weight in base.named_parameters():
            found = [part for part in PARTS if path.endswith("." + part)]
            if not found:
                continue
            module = path.removesuffix("." + found[0]).removeprefix("text_model.")
            name = prefix + module.replace(".", "_")
            own = getattr(run.adapter.layers[name], PARTS[found[0]])
            weight.data.copy_(own.data.reshape(weight.shape))
            parameters[f"{name}.{PARTS[found[0]]}"] = weight
    return unet, text, parameters


@pytest.mark.parametrize(
    ("prediction", "adapter", "modules"),
    [
        ("epsilon", {}, 192),
        ("v", {}, 192),
        ("epsilon", {"kind": "locon", "conv_dim": 3, "conv_alpha": 2.0}, 279),
        ("v", {"kind": "dora"}, 192),
        ("epsilon", {"kind": "dora", "conv_dim": 3, "conv_alpha": 2.0}, 279),
    ],
)
def test_loss_and_gradients_equal_peft_and_diffusers(
    model: Path,
    dataset: Path,
    recipe: Make,
    prediction: str,
    adapter: dict[str, Any],
    modules: int,
) -> None:
    from diffusers import DDPMScheduler

    asked = recipe(model={"prediction": prediction, "clip_skip": 2})
    own = AdapterSection.model_validate({**asked.adapter.model_dump(), **adapter})
    run = ready(asked.model_copy(update={"adapter": own}), dataset)
    wake(run)
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t, weights = torch.tensor([20, 870]), torch.tensor([1.0, 0.5])
    texts = ["azusa, smile, hat", "1girl, blue eyes"]
    ids = run.tokens.stacked([run.tokens.prompt(text) for text in texts])
    ours = losses_at(
        run, x0, noise=noise, timesteps=t, ids=ids, weights=weights, sizes=torch.zeros(2, 6)
    ).mean()
    ours.backward()

    unet, text, parameters = peft_twin(model, run)
    each_has = 3 if own.kind == "dora" else 2
    assert len(parameters) == each_has * (modules + 12)
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    theirs = run.model.tokenizer()(texts, padding="max_length", max_length=77, return_tensors="pt")
    hidden = text(theirs.input_ids, output_hidden_states=True).hidden_states[-2]
    inner = getattr(text, "text_model", text)
    predicted = unet(scheduler.add_noise(x0, noise, t), t, inner.final_layer_norm(hidden)).sample
    wanted = noise if prediction == "epsilon" else scheduler.get_velocity(x0, noise, t)
    each = torch.nn.functional.mse_loss(predicted, wanted, reduction="none").mean([1, 2, 3])
    loss = (each * weights).sum() / 2
    loss.backward()
    torch.testing.assert_close(ours, loss, atol=1e-5, rtol=1e-5)
    compared = 0
    for name, expected in parameters.items():
        module, _, part = name.rpartition(".")
        found = getattr(run.adapter.layers[module], part).grad
        if expected.grad is None:  # the encoder's layer that clip_skip leaves out
            assert found is None
            continue
        torch.testing.assert_close(
            found.reshape(expected.shape), expected.grad, atol=1e-5, rtol=1e-5
        )
        compared += 1
    assert compared == each_has * (modules + 6)


def test_checkpointing_gives_the_same_gradients(dataset: Path, recipe: Make) -> None:
    gradients = []
    for checkpointing in (False, True):
        run = ready(recipe(steps={"checkpointing": checkpointing}), dataset)
        wake(run)
        batch_losses(run, run.batches[0], 0).sum().backward()
        gradients.append([w.grad for w in run.adapter.parameters() if w.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_accumulated_batches_are_one_large_batch(dataset: Path, recipe: Make) -> None:
    """Incomplete batches too: every image of a step counts the same."""
    run = ready(recipe(steps={"batch": 2, "accumulate": 3}, optimizer={"lr": 0.0}), dataset)
    sizes = [len(run.batches[number].places) for number in range(3)]
    loss = train_step(run, 0, np.zeros((6, len(COUNTED)), dtype=np.int64)).loss
    each = [batch_losses(run, run.batches[number], 0) for number in range(3)]
    assert loss == pytest.approx(float(torch.cat(each).detach().sum()) / sum(sizes))


def test_a_rate_of_0_leaves_every_weight_as_it_was(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(optimizer={"lr": 0.0, "args": {"weight_decay": 0.1}}), dataset)
    before = {name: tensor.clone() for name, tensor in run.adapter.tensors().items()}
    for step in range(3):
        train_step(run, step, np.zeros((6, len(COUNTED)), dtype=np.int64))
    after = run.adapter.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_lowers_the_loss_and_leaves_the_base_alone(dataset: Path, recipe: Make) -> None:
    run = ready(recipe(optimizer={"lr": 3e-3}, steps={"total": 20}), dataset)
    base = {name: weight.clone() for name, weight in run.unet.state_dict().items()}
    batches = [run.batches[number] for number in range(run.batches.per_epoch)]

    def fixed() -> float:
        with torch.no_grad():
            return float(torch.cat([batch_losses(run, batch, 0) for batch in batches]).mean())

    start = fixed()
    for step in range(20):
        train_step(run, step, np.zeros((6, len(COUNTED)), dtype=np.int64))
    assert fixed() < 0.98 * start
    assert all(torch.equal(base[name], weight) for name, weight in run.unet.state_dict().items())


def test_regularization_images_weigh_what_the_recipe_says(dataset: Path, recipe: Make) -> None:
    losses = {}
    for prior in (1.0, 0.25):
        run = ready(recipe(loss={"prior_weight": prior}, steps={"batch": 1}), dataset)
        row = int(np.flatnonzero(run.data.table.column("is_reg").to_numpy())[0])
        number = next(n for n in range(99) if row in run.batches[n].places)
        losses[prior] = float(batch_losses(run, run.batches[number], 0).detach())
    assert losses[0.25] == pytest.approx(0.25 * losses[1.0])


def test_a_prior_of_the_model_is_its_own_prediction_without_the_adapter(
    dataset: Path, recipe: Make
) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    run = ready(recipe(loss={"prior": "model"}, steps={"batch": 1}), dataset)
    row = int(np.flatnonzero(run.data.is_reg)[0])
    number = next(n for n in range(99) if row in run.batches[n].places)
    assert float(batch_losses(run, run.batches[number], 0).detach()) == 0.0  # nothing learnt yet
    wake(run)
    assert float(batch_losses(run, run.batches[number], 0).detach()) > 0.0
    torch.manual_seed(0)
    x0, noise, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([20, 870])
    texts = ["azusa, smile, hat", "1girl, blue eyes"]
    ids = run.tokens.stacked([run.tokens.prompt(text) for text in texts])
    found = losses_at(
        *(run, x0),
        **{"noise": noise, "timesteps": t, "ids": ids, "weights": torch.ones(2)},
        sizes=torch.zeros(2, 6),
        prior=torch.tensor([False, True]),
    )
    path = Path(run.recipe.model.path)
    unet, text, _ = peft_twin(path, run)
    frozen = UNet2DConditionModel.from_pretrained(path / "unet", low_cpu_mem_usage=False)
    told = CLIPTextModel.from_pretrained(path / "text_encoder")
    abar = run.abar[t].view(-1, 1, 1, 1)
    noisy = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    flat = ids[:, 0]
    predicted = unet(noisy, t, text(flat).last_hidden_state).sample
    wanted = frozen(noisy, t, told(flat).last_hidden_state).sample
    wanted[0] = noise[0]
    torch.testing.assert_close(found, (predicted - wanted).square().mean([1, 2, 3]))


def test_what_is_transparent_is_not_learnt(dataset: Path, recipe: Make) -> None:
    """The left half of one picture is cut out: its loss is that of the right half alone."""
    path = dataset / pq.read_table(dataset / "manifest.parquet").column("path")[0].as_py()
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, image.width // 2, image.height))
    image.save(path)
    rows[0]["md5"] = hashlib.md5(path.read_bytes()).hexdigest()
    MANIFEST.write(dataset / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST.schema))
    losses = {}
    for mask in ("none", "alpha"):
        run = ready(recipe(loss={"mask": mask}, steps={"batch": 1}), dataset)
        row = run.data.table.column("path").to_pylist().index(rows[0]["path"])
        losses[mask] = [
            float(batch_losses(run, Batch(np.array([one]), np.array([0])), 0).detach())
            for one in range(6)
        ]
    parts = run.store.opacity()
    assert parts[row] == pytest.approx(0.5)
    assert (np.delete(parts, row) == 1).all()
    assert np.delete(losses["alpha"], row).tolist() == np.delete(losses["none"], row).tolist()
    assert 0.2 * losses["none"][row] < losses["alpha"][row] < 0.8 * losses["none"][row]


def test_bf16_computes_near_fp32_and_trains_fp32_weights(dataset: Path, recipe: Make) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        run = ready(recipe(steps={"precision": precision}), dataset)
        loss = train_step(run, 0, np.zeros((6, len(COUNTED)), dtype=np.int64)).loss
        losses.append(loss)
        assert {weight.dtype for weight in run.adapter.parameters()} == {torch.float32}
        assert any(layer.up.any() for layer in run.adapter.layers.values())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
