"""Which bytes each file of a source folder had when it was last read, so that none is read twice.

Times tell whether a file is the one that was read; they have no place in tables, so this lies with
the logs. It only spares work: without it every file is read again, and the result is the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.files import md5_of, write_text

State = str


@dataclass
class Seen:
    """The files of one set's folder, by their place in it: size, time, md5."""

    path: Path
    state: State = ""  # of the whole folder, when it was last read to its end
    _known: Mapping[str, list[Any]] = field(default_factory=dict)
    _now: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, name: str) -> "Seen":
        """Return what is known of the folder of set `name`; nothing where it never was read."""
        path = root / "logs" / "imports" / f"{name}.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, str(stored["state"]), dict(stored["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)

    def md5(self, file: Path, name: str) -> str:
        """Return the md5 of the file's bytes; only a file that changed since is read."""
        facts = file.stat()
        now = [facts.st_size, facts.st_mtime_ns]
        held = self._known.get(name)
        md5 = held[2] if held is not None and held[:2] == now else md5_of(file)
        self._now[name] = [*now, md5]
        return str(md5)

    def keep(self, state: State) -> None:
        """Remember what was read, and that it was the whole folder."""
        text = json.dumps({"state": state, "files": self._now}, ensure_ascii=False)
        write_text(self.path, text + "\n")
