"""The account, from the environment or a file of the user's; never from the dataset folder."""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import UsageError


@dataclass(frozen=True)
class Credentials:
    """A login and its API key; both empty for an anonymous reader."""

    login: str = ""
    api_key: str = field(default="", repr=False)  # never in a log or a message

    def __bool__(self) -> bool:
        return bool(self.login and self.api_key)


def user_file() -> Path:
    """Where a user may keep `login` and `api_key` for all datasets."""
    base = os.environ.get("APPDATA") or os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "kiroku" / "credentials.toml"


def credentials() -> Credentials:
    """KIROKU_LOGIN and KIROKU_API_KEY, else the user's file, else none."""
    login, key = os.environ.get("KIROKU_LOGIN", ""), os.environ.get("KIROKU_API_KEY", "")
    if login or key:
        if not (login and key):
            raise UsageError("KIROKU_LOGIN and KIROKU_API_KEY go together: set both or neither")
        return Credentials(login, key)
    path = user_file()
    if not path.is_file():
        return Credentials()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f'{path}: not TOML: write login = "..." and api_key = "..."') from None
    login, key = str(values.get("login", "")), str(values.get("api_key", ""))
    if bool(login) != bool(key):
        raise UsageError(f"{path}: login and api_key go together: write both or neither")
    return Credentials(login, key)
