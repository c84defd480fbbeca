"""What a run writes of itself: the log, the adapter with its metadata, the images' exposures."""

import datetime
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.files import disk_error
from schemas.tables import write_parquet
from train.adapter_file import metadata_of, write_adapter
from train.captions import COUNTED
from train.run_folder import RunFolder
from train.setup import Setup
from train.step import Step
from train.validation import Validation


class Log:
    """log.jsonl and the same curves for tensorboard, both flushed as they are written."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder.log
        # unbuffered: a line is on the disk when it is written, or known not to be
        self._file = folder.log.open("ab", buffering=0)
        self._curves: Any = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._curves.close()

    def step(
        self, step: int, done: Step, change: Mapping[str, float], seconds: float, images: int
    ) -> None:
        """Log a step; `change` by block, where it was measured."""
        entry: dict[str, Any] = {"step": step, "loss": done.loss, "lr": done.rate}
        entry |= {"seconds": round(seconds, 3), "images": images, "change": change}
        entry["not_finite"] = done.broken and asdict(done.broken)
        self._write({key: value for key, value in entry.items() if value not in (None, {})})
        if done.loss is not None:
            self._curves.add_scalar("loss", done.loss, step)
        self._curves.add_scalar("lr", done.rate, step)
        for block, moved in change.items():
            self._curves.add_scalar(f"change/{block}", moved, step)

    def validation(self, step: int, found: Validation) -> None:
        """Log the loss on the held-out images after `step` steps."""
        by_timestep = {str(t): loss for t, loss in found.by_timestep.items()}
        entry = {"step": step, "validation_loss": found.loss}
        self._write({**entry, "validation_by_timestep": by_timestep})
        self._curves.add_scalar("validation_loss", found.loss, step)
        for t, loss in by_timestep.items():
            self._curves.add_scalar(f"validation/{t}", loss, step)

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise disk_error(error, self._path) or error from error


def save_adapter(ready: Setup, path: Path, step: int, seconds: float) -> None:
    """Write the adapter as it is after `step` steps and `seconds` of training."""
    now = time.time()
    epochs = ready.batches_by(step) / ready.batches.per_epoch
    sizes = Counter(
        (int(width), int(height)) for width, height in ready.store.buckets[ready.batches.places]
    )
    metadata = metadata_of(
        ready.recipe,
        ready.data.table,
        kind=ready.model.kind,
        name=path.stem,
        model_hash=ready.model_sha256,
        vae_hash=ready.vae_sha256,
        buckets=sizes,
        seen={
            "steps": step,
            "max_train_steps": ready.steps,
            "epoch": int(np.ceil(epochs)),
            "num_epochs": int(np.ceil(ready.forwards / ready.batches.per_epoch)),
            "num_batches_per_epoch": ready.batches.per_epoch,
        },
        started=now - seconds,
        finished=now,
        date=datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="seconds"),
    )
    write_adapter(path, ready.adapter.tensors(), metadata, ready.recipe.save.precision)


def save_exposures(ready: Setup, step: int, counts: np.ndarray) -> None:
    """Write how often each image was seen in `step` steps, and what is COUNTED of its captions."""
    table, rows = ready.data.table, ready.data.table.num_rows
    seen = np.zeros(rows, dtype=np.int64)
    exposures = ready.batches.exposures(ready.batches_by(step))
    np.add.at(seen, ready.rows_of(ready.batches.places), exposures)
    reasons = [ready.store.problems.get(row) for row in range(rows)]
    for row in ready.validation:
        reasons[row] = "held out for validation"
    columns = {
        "md5": table.column("md5"),
        "set": table.column("set"),
        "seen": pa.array(seen),
        **{name: pa.array(column) for name, column in zip(COUNTED, counts.T, strict=True)},
        "left_out": pa.array(reasons, pa.string()),
    }
    write_parquet(ready.folder.exposures, pa.table(columns))
