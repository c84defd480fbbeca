"""Whose account it is: environment, then the user's file; the key is never shown."""

from pathlib import Path

import pytest

from prep.booru.credentials import Credentials, credentials, user_file
from schemas.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KIROKU_LOGIN", "KIROKU_API_KEY", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def write(text: bytes) -> Path:
    path = user_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    return path


def test_nobody_by_default() -> None:
    assert credentials() == Credentials()
    assert not credentials()


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    write(b'login = "file"\napi_key = "k"\n')
    monkeypatch.setenv("KIROKU_LOGIN", "me")
    monkeypatch.setenv("KIROKU_API_KEY", "key")
    assert credentials() == Credentials("me", "key")
    assert credentials()


@pytest.mark.parametrize("name", ["KIROKU_LOGIN", "KIROKU_API_KEY"])
def test_half_an_account_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(UsageError) as told:
        credentials()
    assert str(told.value) == ("KIROKU_LOGIN and KIROKU_API_KEY go together: set both or neither")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_users_file(home: Path, mark: bytes) -> None:
    path = write(mark + b'login = "me"\napi_key = "key"\n')
    assert path == home / "kiroku" / "credentials.toml"
    assert credentials() == Credentials("me", "key")


def test_windows_keeps_it_with_the_programs_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    assert user_file() == tmp_path / "Roaming" / "kiroku" / "credentials.toml"


def test_without_either_it_lies_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert user_file() == Path.home() / ".config" / "kiroku" / "credentials.toml"


@pytest.mark.parametrize("text", [b"login: s3cret", b'login = "\xe9s3cret"'])
def test_a_file_that_is_no_toml_is_told_without_its_words(text: bytes) -> None:
    path = write(text)
    with pytest.raises(UsageError) as told:
        credentials()
    assert str(told.value) == (f'{path}: not TOML: write login = "..." and api_key = "..."')


@pytest.mark.parametrize("text", [b'login = "s3cret"', b'api_key = "s3cret"'])
def test_half_an_account_in_the_file_is_told(text: bytes) -> None:
    path = write(text)
    with pytest.raises(UsageError) as told:
        credentials()
    assert str(told.value) == (f"{path}: login and api_key go together: write both or neither")


def test_the_key_is_in_no_representation() -> None:
    account = Credentials("me", "s3cret")
    assert "s3cret" not in repr(account)
    assert "s3cret" not in str(account)
    assert repr(account) == "Credentials(login='me')"
