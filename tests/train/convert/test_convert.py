"""`train convert`: command lines as people have them, beside the recipes they should become."""

import tomllib
from pathlib import Path

import pytest

from schemas.command import run
from schemas.errors import UsageError
from schemas.recipes.load import load_train
from schemas.recipes.train import CaptionSection, LatentsSection, LossSection
from train.blocks import ARCHITECTURES
from train.cli import app
from train.convert import convert
from train.convert.networks import ranges
from train.convert.tables import FLAGS, INSTEAD, NOT_NEEDED, SAME

CASES = Path(__file__).parent / "cases"
SHORT = "accelerate launch train_network.py --pretrained_model_name_or_path=b.ckpt"


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.txt")))
def test_a_training_becomes_the_recipe_that_was_written_for_it_by_hand(case: str) -> None:
    found = convert((CASES / f"{case}.txt").read_text(encoding="utf-8"))
    expected = tomllib.loads((CASES / f"{case}.toml").read_text(encoding="utf-8"))
    assert found.recipe == expected
    assert tomllib.loads(found.text()) == expected


def test_there_are_twenty_of_them_and_more() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CASES.glob("*.txt")]
    assert sum("accelerate" in text for text in texts) >= 20


@pytest.mark.parametrize("case", ["notes-shiroko", "notes-mika"])
def test_nothing_in_the_commands_of_the_notes_is_left_open(case: str) -> None:
    found = convert((CASES / f"{case}.txt").read_text(encoding="utf-8"))
    assert (found.open, found.unknown, found.instead, found.notes) == ((), (), (), ())


def test_the_commands_that_bring_the_images_are_named() -> None:
    found = convert((CASES / "notes-shiroko.txt").read_text(encoding="utf-8"))
    assert found.commands == (
        r'prep init shiroko_1024 --from "G:\sd_train\Train\shiroko\train"',
        r'prep import shiroko_1024 "G:\sd_train\Train\shiroko\train"',
        r'prep import shiroko_1024 "G:\sd_train\Train\Lora_RegImageA240" --role reg',
    )
    found = convert((CASES / "dataset-file.txt").read_text(encoding="utf-8"))
    assert found.commands == (
        r'prep init converted --from "D:\sets\mari"',
        r'prep import converted "D:\sets\mari" --repeats 8',
        r'prep import converted "D:\sets\girls" --role reg',
    )


def test_every_option_is_translated_explained_or_named() -> None:
    given = f"{SHORT} --train_data_dir=d --xformers --full_fp16 --novel_option=3 --network_dim=4x"
    found = convert(given)
    assert ("--xformers", "attention is computed without the full matrix (SDPA) always") in (
        found.unneeded
    )
    assert found.instead == (
        (
            "--full_fp16",
            "not taken over: what is trained stays fp32, as in half precision nothing is learnt",
        ),
    )
    assert found.unknown == ("--novel_option=3", "--network_dim=4x")
    assert "# NOT UNDERSTOOD, and left out:\n#   --novel_option=3\n" in found.text()


def test_an_option_of_the_network_that_is_not_known_is_named_too() -> None:
    found = convert((CASES / "unread-dataset.txt").read_text(encoding="utf-8"))
    assert ('network_args "loraplus_lr_ratio=4"', "not understood") in found.instead
    assert found.notes == (
        "text_encoder_lr gives the encoders 1e-05 and 5e-06: here both have the first rate",
    )


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.txt")))
def test_what_is_said_of_latents_captions_and_loss_is_what_training_takes(case: str) -> None:
    found = convert((CASES / f"{case}.txt").read_text(encoding="utf-8")).recipe
    LatentsSection.model_validate(found["latents"])
    CaptionSection.model_validate(found["caption"])
    LossSection.model_validate(found.get("loss", {}))


def test_the_precision_of_a_command_is_one_that_training_takes(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    for precision in ("no", "fp16", "bf16"):
        found = convert(f"{SHORT} --max_train_steps=9 --mixed_precision={precision}")
        given = found.recipe["steps"]["precision"]
        text = f'model.path = "b.ckpt"\nsteps = {{ total = 9, precision = "{given}" }}\n'
        file.write_text(text, encoding="utf-8")
        assert load_train(file).steps.precision == given


def test_files_that_a_command_names_are_read_where_they_are(tmp_path: Path) -> None:
    sets = (CASES / "dataset-file.txt").read_text(encoding="utf-8")
    (tmp_path / "sets.toml").write_text(sets, encoding="utf-8")
    config = 'network_module = "networks.lora"\nnetwork_dim = 32\nclip_skip = 2\n'
    (tmp_path / "own.toml").write_text(config, encoding="utf-8")
    found = convert(
        f"{SHORT} --dataset_config=sets.toml --config_file=own --network_dim=8", tmp_path
    )
    assert found.recipe["latents"]["resolution"] == 768
    assert found.recipe["adapter"]["dim"] == 8, "the command stands over the file"
    assert found.recipe["model"]["clip_skip"] == 2
    assert "data" not in found.recipe


def test_epochs_become_steps_where_the_images_can_be_counted(tmp_path: Path) -> None:
    for name, count in (("4_azusa", 5), ("2_hat", 3)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "train" / name / f"{number}.png").touch()
        (tmp_path / "train" / name / "0.txt").touch()
    folder = (tmp_path / "train").as_posix()
    found = convert(
        f'{SHORT} --train_data_dir="{folder}" --train_batch_size=4 --save_every_n_epochs=2'
    )
    assert found.recipe["save"]["every"] == 2 * 7  # 26 exposures in batches of 4


def test_a_blank_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    text = convert((CASES / "no-model.txt").read_text(encoding="utf-8")).text()
    (tmp_path / "train.toml").write_text(text, encoding="utf-8")
    line = text.splitlines().index('path = "FILL IN: the checkpoint to train on"') + 1
    filled = text.replace('data = "FILL IN: the manifest of', 'data = "the manifest of')
    (tmp_path / "train.toml").write_text(filled, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_train(tmp_path / "train.toml")
    assert str(caught.value) == (
        f'{tmp_path / "train.toml"} line {line}: fill in "model.path": the checkpoint to train on'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "nothing to convert: paste an `accelerate launch ... train_network.py ...` command,"
            " or name a file with one, or a TOML file of sd-scripts",
        ),
        (
            "accelerate launch flux_train_network.py --network_dim=4",
            "flux_train_network.py does not train a LoRA for SD1.5 or SDXL: train_network.py and"
            " sdxl_train_network.py can be converted",
        ),
        (
            f'{SHORT} --train_data_dir="C:\\open',
            "the command has a quote that is opened and never closed: paste the whole of it",
        ),
        (
            "please train my lora",
            "this is no command line (no train_network.py in it) and no TOML (Expected '=' after a"
            " key in a key/value pair (at line 1, column 8)): paste the whole command, or an"
            " sd-scripts TOML file",
        ),
        ("# only a comment\n", "the TOML file sets nothing: is it the one of sd-scripts'"),
    ],
)
def test_what_is_no_training_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(text)
    assert str(caught.value).startswith(message)


def test_a_missing_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["convert", "none.txt"]) == 2
    assert capsys.readouterr().err == (
        "train: none.txt is missing: name a file, or paste a command\n"
    )


def test_no_option_has_two_places() -> None:
    tables = (SAME, FLAGS, NOT_NEEDED, INSTEAD)
    names = [name for table in tables for name in table]
    assert sorted(names) == sorted(set(names))


def test_neighbouring_blocks_are_drawn_together() -> None:
    assert (
        ranges(["OUT03", "IN04", "IN05", "M00", "OUT04"], ARCHITECTURES["sd15"].unet_blocks)
        == "IN04-05,M00,OUT03-04"
    )
