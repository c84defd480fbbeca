"""Folders, and a real HTTP server in the Hub's place that answers as the Hub does."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from schemas.errors import ModelError
from taggers.locate import locate

REPOSITORY = "someone/some-tagger"


class Hub:
    """What the server answers: file name -> bytes, or a status with the Hub's error code."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, str] | None = None
        self.requests: list[str] = []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            state.requests.append(self.path)
            data = state.files.get(self.path.rpartition("/")[2])
            if state.refusal or data is None:
                status, code = state.refusal or (404, "EntryNotFound")
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.send_header("X-Repo-Commit", "c" * 40)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", URL.format(endpoint))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield state
    server.shutdown()
    server.server_close()


URL = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


def message(model: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        locate(model)
    return str(caught.value)


def test_a_folder_gives_its_two_files_and_its_name(make_tagger: Callable) -> None:
    folder = make_tagger()
    files = locate(str(folder))
    assert files == locate(folder)
    assert (files.model, files.tags, files.name) == (
        folder / "model.onnx",
        folder / "selected_tags.csv",
        "tiny",
    )


def test_a_folder_without_the_files_names_what_is_missing(tmp_path: Path) -> None:
    assert message(tmp_path) == (
        f"{tmp_path} is no tagger: it lacks model.onnx and selected_tags.csv, "
        "which lie side by side in the model's repository"
    )
    (tmp_path / "model.onnx").touch()
    assert message(tmp_path) == (
        f"{tmp_path} is no tagger: it lacks selected_tags.csv, "
        "which lie side by side in the model's repository"
    )


def test_what_is_neither_folder_nor_hub_id_says_what_would_be(tmp_path: Path) -> None:
    for model in (tmp_path / "absent", "wd14", "a/b/c"):
        assert message(model) == (
            f"no tagger at {model}: give a folder that holds model.onnx and selected_tags.csv, "
            "or a Hub id such as SmilingWolf/wd-swinv2-tagger-v3"
        )


def test_a_hub_id_downloads_its_files_once(hub: Hub) -> None:
    hub.files = {"model.onnx": b"onnx", "selected_tags.csv": b"tags", "other.bin": b"x"}
    files = locate(REPOSITORY)
    assert (files.model.read_bytes(), files.tags.read_bytes()) == (b"onnx", b"tags")
    assert files.name == REPOSITORY
    asked = len(hub.requests)
    assert {path.rpartition("/")[2] for path in hub.requests if REPOSITORY in path} == {
        "model.onnx",
        "selected_tags.csv",
        "config.json",  # asked for, and not there
    }
    assert files.config is None
    hub.refusal = (404, "RepoNotFound")
    assert locate(REPOSITORY) == files
    assert len(hub.requests) == asked


def test_a_config_comes_with_the_model_and_is_never_asked_for_alone(hub: Hub) -> None:
    hub.files = {"model.onnx": b"onnx", "selected_tags.csv": b"tags", "config.json": b"{}"}
    files = locate(REPOSITORY)
    assert files.config is not None
    assert files.config.read_bytes() == b"{}"
    files.config.unlink()
    asked = len(hub.requests)
    assert locate(REPOSITORY).config is None
    assert len(hub.requests) == asked


def test_a_config_is_part_of_the_key_where_it_changes_what_is_read(make_tagger: Callable) -> None:
    folder = make_tagger()
    key = locate(folder).key
    config = folder / "config.json"
    config.write_text('{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}')
    assert locate(folder).key == key
    config.write_text('{"mean": [0.4, 0.4, 0.4], "channels": "rgb"}')
    assert locate(folder).key != key


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    hub.refusal = (404, "RepoNotFound")
    assert message(REPOSITORY) == (
        f"no tagger {REPOSITORY}: there is no such folder here, and no such repository on the "
        "Hub (a private one needs `hf auth login`)"
    )


def test_a_gated_repository(hub: Hub) -> None:
    hub.refusal = (403, "GatedRepo")
    assert message(REPOSITORY) == (
        f"the tagger {REPOSITORY} is gated: accept its terms on the Hub and log in with "
        "`hf auth login`, or download model.onnx and selected_tags.csv elsewhere and give "
        "their folder"
    )


def test_a_repository_of_something_else(hub: Hub) -> None:
    hub.files = {"model.onnx": b"onnx"}
    assert message(REPOSITORY) == (
        f"{REPOSITORY} on the Hub is no WD14 tagger: it has no selected_tags.csv"
    )


def test_offline_with_nothing_in_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert message(REPOSITORY) == (
        f"the tagger {REPOSITORY} is not on this machine and the Hub cannot be reached for "
        "model.onnx: connect once, or download model.onnx and selected_tags.csv elsewhere and "
        "give their folder"
    )
    assert hub.requests == []


@pytest.mark.slow  # the Hub's client tries five times
def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", URL.format("http://127.0.0.1:9"))
    assert message(REPOSITORY) == (
        f"the tagger {REPOSITORY} is not on this machine and the Hub cannot be reached for "
        "model.onnx: connect once, or download model.onnx and selected_tags.csv elsewhere and "
        "give their folder"
    )


def test_a_hub_in_trouble(hub: Hub) -> None:
    hub.refusal = (400, "")
    assert message(REPOSITORY) == (
        f"the Hub answered 400 when asked for model.onnx of {REPOSITORY}: try again later, "
        "or download model.onnx and selected_tags.csv elsewhere and give their folder"
    )
