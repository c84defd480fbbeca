"""The command `prep` as a person meets it: faults are one whole sentence, and lose nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prep.cli import app
from prep.demo.recipes import CHARACTER
from prep.demo.site import Site
from schemas.command import run

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """`say("status", folder)`: exit status, stdout, last line of stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        status = run(app, [str(word) for word in words])
        out, err = capfd.readouterr()
        return status, out, (err.splitlines() or [""])[-1]

    return call


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, by name; logs, which tell of every attempt, apart."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "logs"
    }


def write(folder: Path, text: str, name: str = "prep.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_help_answers_without_torch_or_pyarrow() -> None:
    script = (
        "import sys; from schemas.command import run; from prep.cli import app\n"
        "status = run(app, ['--help'])\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'diffusers', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fetch" in done.stdout


def test_a_folder_without_recipe_is_no_dataset(say: Say, tmp_path: Path) -> None:
    assert say("run", tmp_path) == (
        2,
        "",
        f"prep: {tmp_path} is no dataset (it has no prep.toml):"
        " make one with `prep init`, or name its folder",
    )
    assert files(tmp_path) == {}


def test_what_downloads_and_what_does_not_are_not_asked_for_together(
    say: Say, tmp_path: Path
) -> None:
    assert say("fetch", tmp_path, "--restore", "--refresh") == (
        2,
        "",
        "prep: give one of --restore and --refresh: the latter downloads nothing",
    )


@pytest.mark.parametrize("asked", ["--plan", "--json"])
@pytest.mark.parametrize("other", ["--restore", "--refresh"])
def test_a_plan_is_asked_for_alone(say: Say, tmp_path: Path, asked: str, other: str) -> None:
    assert say("fetch", tmp_path, asked, other) == (
        2,
        "",
        f"prep: give one of {asked} and {other}: a plan brings and changes nothing",
    )


def test_an_unknown_key_is_refused_with_its_line(say: Say, tmp_path: Path) -> None:
    write(tmp_path, '[sets]\nmain = { query = "a" }\n\n[dedup]\nbit = 4\n')
    assert say("run", tmp_path) == (
        2,
        "",
        f'prep: {tmp_path / "prep.toml"} line 5: unknown key "dedup.bit"; did you mean "bits"?',
    )


def test_a_wrong_type_is_refused_with_what_it_must_be(say: Say, tmp_path: Path) -> None:
    write(tmp_path, '[sets]\nmain = { query = "a" }\n[dedup]\nbits = "four"\n')
    assert say("status", tmp_path) == (
        2,
        "",
        f'prep: {tmp_path / "prep.toml"} line 4: "dedup.bits" is "four"; it must be a whole number',
    )


def test_a_change_on_the_command_line_is_refused_by_its_own_words(say: Say, tmp_path: Path) -> None:
    write(tmp_path, '[sets]\nmain = { query = "a" }\n')
    assert say("run", tmp_path, "--set", "dedup.bits=99") == (
        2,
        "",
        'prep: --set dedup.bits=99: "dedup.bits" is 99; it must be 16 or less',
    )


def test_a_query_that_nothing_answers_to(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": "no_such_tag"})
    before = files(folder)
    assert say("fetch", folder) == (
        2,
        "",
        f'prep: set "main": no post answers to "no_such_tag" on {site.url}:'
        " check the spelling of its tags there",
    )
    assert files(folder) == before


def test_a_query_with_more_of_the_sites_own_words_than_the_account_may_ask_for(
    say: Say, site: Site, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder(site, main={"query": "1girl user:a fav:b pool:c"})
    before = files(folder)
    assert say("fetch", folder) == (
        2,
        "",
        'prep: set "main": query "1girl user:a fav:b pool:c": 3 tags of it can be tested by the'
        " site alone (user:a fav:b pool:c), and this account may search for 2: use an account that"
        " may have more, or fewer of them",
    )
    assert files(folder) == before


def test_a_query_that_cannot_be_read(
    say: Say, site: Site, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder(site, main={"query": "1girl (smile"})
    assert say("fetch", folder, "--plan") == (
        2,
        "",
        'prep: set "main": query "1girl (smile": at character 7: this "(" is never closed:'
        ' write the ")" that closes it',
    )


def test_a_site_that_cannot_be_reached(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site)
    assert say("fetch", folder, "--set", "fetch.site=http://127.0.0.1:9") == (
        1,
        "",
        "prep: 127.0.0.1:9 cannot be reached (no connection):"
        " check the address and your connection, then run the command again",
    )


def test_a_site_that_is_no_booru(
    say: Say, site: Site, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dataset(site)
    elsewhere = f"{site.url}/nothing/here"
    assert say("fetch", folder, "--set", f"fetch.site={elsewhere}") == (
        1,
        "",
        f"prep: {site.url.removeprefix('http://')} has it no more (HTTP 404):"
        f" {elsewhere}/posts.json: is {elsewhere} a site with Danbooru's API?",
    )


def test_wrong_credentials_are_told_and_never_shown(
    say: Say, site: Site, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIROKU_LOGIN", "gold")
    monkeypatch.setenv("KIROKU_API_KEY", "not-the-key-0123")
    folder = make_dataset(site)
    status, out, sentence = say("fetch", folder)
    host = site.url.removeprefix("http://")
    assert (status, out, sentence) == (
        1,
        "",
        f"prep: {host} refused the login (HTTP 401): check KIROKU_LOGIN and KIROKU_API_KEY,"
        " or the file that holds login and api_key",
    )
    everything = b"".join(files(folder).values())
    assert b"not-the-key-0123" not in everything


def test_half_a_credential(
    say: Say, site: Site, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIROKU_LOGIN", "gold")
    monkeypatch.delenv("KIROKU_API_KEY", raising=False)
    assert say("fetch", make_dataset(site)) == (
        2,
        "",
        "prep: KIROKU_LOGIN and KIROKU_API_KEY go together: set both or neither",
    )


def test_a_tagger_that_is_not_there(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("fetch", folder)
    assert say("tag", folder, "--set", 'tag.taggers=["nowhere"]') == (
        1,
        "",
        "prep: no tagger at nowhere: give a folder that holds model.onnx and selected_tags.csv,"
        " or a Hub id such as SmilingWolf/wd-swinv2-tagger-v3",
    )


def test_a_model_file_of_another_kind(
    say: Say, site: Site, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("fetch", folder)
    import onnxruntime

    tagger = tmp_path / "tagger"
    tagger.mkdir()
    (tagger / "model.onnx").write_bytes(b"this is text, not a network")
    (tagger / "selected_tags.csv").write_text("tag_id,name,category,count\n1,1girl,0,5\n")
    assert say("tag", folder, "--set", f'tag.taggers=["{tagger.as_posix()}"]') == (
        1,
        "",
        f"prep: {tagger / 'model.onnx'} is no ONNX model that onnxruntime {onnxruntime.__version__}"
        " can open (InvalidProtobuf): download it again, or update onnxruntime",
    )


def test_a_stage_before_its_time(say: Say, site: Site, make_dataset: Callable[..., Path]) -> None:
    folder = make_dataset(site)
    assert say("caption", folder) == (
        2,
        "",
        f"prep: {folder}: caption needs what `prep dedup` makes:"
        " run that first, or `prep run` for all that is wanted",
    )


def test_a_model_that_is_missing_is_told_when_latents_want_it(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("run", folder)
    text = (folder / "train.toml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("path = "))
    (folder / "train.toml").write_text(text.replace(line, 'path = "gone"'), encoding="utf-8")
    assert say("run", folder) == (
        1,
        "",
        "prep: model.path gone is missing: give a .safetensors or .ckpt file, a diffusers folder,"
        " or a Hub id (owner/name)",
    )


def test_a_folder_set_without_its_folder(say: Say, tmp_path: Path) -> None:
    write(tmp_path, '[sets]\nmain = { from = "pictures" }\n')
    assert say("fetch", tmp_path) == (
        2,
        "",
        f"prep: {tmp_path / 'pictures'} is no folder: `from` names a folder of images",
    )


def test_init_never_replaces_a_recipe(say: Say, tmp_path: Path) -> None:
    write(tmp_path, "mine")
    assert say("init", tmp_path, "--query", "x") == (
        2,
        "",
        f"prep: {tmp_path / 'prep.toml'} is there already: edit it, or choose another folder",
    )
    assert files(tmp_path) == {"prep.toml": b"mine"}


def test_init_wants_one_source(say: Say, tmp_path: Path) -> None:
    assert say("init", tmp_path) == (
        2,
        "",
        "prep: give one of --query and --from: where should the images come from?",
    )


def test_an_unknown_command_is_answered_with_a_near_one(say: Say) -> None:
    status, out, sentence = say("ftech")
    assert (status, out) == (2, "")
    assert sentence == 'prep: Unknown command "ftech". Did you mean "fetch"? (see prep --help)'


def test_status_prints_one_json_object_alone_on_stdout(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("fetch", folder)
    status, out, _ = say("status", folder, "--json")
    stages = json.loads(out)["stages"]
    assert status == 0
    assert [stage["name"] for stage in stages] == [
        "fetch", "dedup", "tag", "caption", "reg", "manifest", "latents",
    ]  # fmt: skip
    assert set(stages[0]) == {"name", "rows_in", "rows_out", "dropped", "stale", "seconds"}
    assert stages[0]["rows_in"] == stages[0]["rows_out"] + sum(stages[0]["dropped"].values())
    assert [stage["stale"] for stage in stages] == [False] + [True] * 6


def test_doctor_tells_what_there_is_and_what_to_install(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site)
    status, out, _ = say("doctor", folder, "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert status == 0
    assert list(findings) == [
        "python",
        "torch",
        "onnxruntime",
        "disk",
        "dataset",
        "account",
        "site",
    ]
    assert findings["site"]["found"] == f"{site.url} answers, account level anonymous"
    assert findings["account"]["remedy"].startswith("for more, set KIROKU_LOGIN and KIROKU_API_KEY")


def test_doctor_fails_when_the_site_does_not_answer(say: Say, tmp_path: Path) -> None:
    write(tmp_path, '[sets]\nmain = { query = "a" }\n[fetch]\nsite = "http://127.0.0.1:9"\n')
    status, out, _ = say("doctor", tmp_path, "--json")
    assert status == 1
    assert [f["name"] for f in json.loads(out)["findings"] if not f["well"]] == ["site"]


def test_gc_frees_what_a_kill_left_and_nothing_else(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("run", folder)
    before = files(folder)
    left = folder / "images" / "ab" / "x.jpg.0123abcd.aside"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"x" * 500_000)
    assert say("gc", folder, "--dry-run")[1] == "would free 0.5 MB\n"
    assert left.exists()
    assert say("gc", folder)[1] == "freed 0.5 MB\n"
    assert files(folder) == before


def test_a_run_twice_says_that_there_is_nothing_to_do(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    say("run", folder)
    assert say("run", folder) == (
        0,
        "",
        "nothing to do: all stages are up to date (`prep fetch` looks for new posts)",
    )


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_may_not_be_written(
    say: Say, site: Site, make_dataset: Callable[..., Path]
) -> None:
    folder = make_dataset(site, main={"query": CHARACTER})
    folder.chmod(0o500)
    status, _, sentence = say("fetch", folder)
    folder.chmod(0o700)
    assert status == 1
    assert "no permission to write" in sentence
