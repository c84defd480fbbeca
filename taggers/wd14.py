"""A WD14-type ONNX tagger as an onnxruntime session: square RGB pixels -> probabilities.

In what form a model wants its pixels is told by its input's shape and the config beside it
(`taggers.export`), whether its answers still want a sigmoid by its answers to known pictures.
"""

import contextlib
import ctypes
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from schemas.errors import DeviceError, ModelError
from taggers.batch import BatchSize
from taggers.export import Scaling, are_probabilities, as_input, probes
from taggers.locate import Files, locate
from taggers.vocabulary import Label, read_labels

Device = Literal["auto", "cpu", "cuda"]
FIRST = 4  # images of the first runs; the models in use need up to 0.4 GB for each
MOST = {"cpu": FIRST, "cuda": 128}  # a CPU is no quicker with more of them
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
PLACES = {"cpu": "the CPU", "cuda": "the GPU (CUDA)"}
FATAL = 4  # onnxruntime's log level: what it cannot do becomes our sentence, not its red lines
INSTALL = (
    "`pip uninstall onnxruntime`, then "
    '`pip install --force-reinstall "onnxruntime-gpu[cuda,cudnn]"`'
)
NO_MEMORY = ("failed to allocate", "out of memory", "alloc_failed", "bad_alloc", "bad allocation")
REMEDY = f'install an NVIDIA driver, {INSTALL}, or set device = "auto"'


@dataclass(frozen=True)
class Tagger:
    """A loaded tagger. On one device, results depend on its bytes and the pixels alone."""

    labels: tuple[Label, ...]
    size: int  # pixels, side of the square input
    key: str  # 16 hex digits of SHA-256 over model.onnx and selected_tags.csv
    device: str  # "cpu" or "cuda": what the session really runs on
    name: str  # what the person called it, for messages only
    hint: str  # why it is not on the card that is here; "" otherwise
    _session: Any = field(repr=False)
    _batch: BatchSize = field(repr=False)
    _scaling: Scaling | None = field(repr=False)  # None: channels come last
    _output: str = field(default="", repr=False)
    _logits: bool = field(default=False, repr=False)

    @property
    def batch(self) -> int:
        """Images a run, as found so far."""
        return self._batch.size

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """RGB uint8 [n, size, size, 3] -> float32 [n, labels].

        Every run has `batch` images, the last filled up with white: with another number of them
        onnxruntime may choose other kernels and round differently. Raises DeviceError when memory
        does not hold the smallest run.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"uint8 [n, {self.size}, {self.size}, 3] is wanted, not "
                f"{images.dtype} {list(images.shape)}"
            )
        rows = np.empty((len(images), len(self.labels)), np.float32)
        start = 0
        while start < len(images):
            part = images[start : start + self.batch]
            begun = time.perf_counter()
            answers = self._answers(part, self._output)
            if answers is None:
                continue
            self._batch.ran(len(part), time.perf_counter() - begun)
            rows[start : start + len(part)] = _sigmoid(answers) if self._logits else answers
            start += len(part)
        return rows

    def describe(self) -> str:
        """One line for the person: which tagger, how large, on which device."""
        place = PLACES[self.device]
        line = f"tagger {self.name}: {len(self.labels)} labels, {self.size} px, on {place}"
        return f"{line}; {self.hint}" if self.hint else line

    def _answers(
        self, images: npt.NDArray[np.uint8], output: str
    ) -> npt.NDArray[np.float32] | None:
        """What the model answers, [n, width]; None where memory ended and a smaller run may do."""
        filled = np.full((self.batch, *images.shape[1:]), 255, np.uint8)
        filled[: len(images)] = images
        values = as_input(filled, self._scaling)
        try:
            (answers,) = self._session.run([output], {self._session.get_inputs()[0].name: values})
        except Exception as error:  # onnxruntime's errors have no common base
            if not any(words in str(error).lower() for words in NO_MEMORY):
                raise
            if self._batch.too_large():
                return None
            raise DeviceError(
                f"tagger {self.name}: memory does not hold a run of {self.batch} of its images on "
                f'{PLACES[self.device]}: close what else uses it, or set device = "cpu"'
            ) from error
        return np.asarray(answers[: len(images)], dtype=np.float32)


def load(model: str | Path | Files, device: Device = "auto") -> Tagger:
    """Open a tagger from a folder, a Hub id, or files that `locate` found.

    `auto` takes CUDA where onnxruntime really starts it, else the CPU; the caller says
    `describe()` aloud. Raises ModelError (not to be had, of another kind, csv and model do not
    belong together) and DeviceError (`cuda` was demanded and is not there).
    """
    files = model if isinstance(model, Files) else locate(model)
    labels = read_labels(files.tags)
    session, hint = _session(files, device)
    used = "cuda" if CUDA in session.get_providers() else "cpu"
    size, channels_first, fixed = _input_shape(session, files.model)
    tagger = Tagger(
        labels=labels,
        size=size,
        key=files.key,
        device=used,
        name=files.name,
        hint=hint,
        _session=session,
        _batch=BatchSize(fixed, fixed, fixed) if fixed else BatchSize(FIRST, MOST[used]),
        _scaling=files.scaling if channels_first else None,
    )
    output, logits = _output(tagger, files)
    return replace(tagger, _output=output, _logits=logits)


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), dtype=np.float32)  # never overflows


def _session(files: Files, device: Device) -> tuple[Any, str]:
    """The session, and why it is not on the card that is here ("" when there is nothing to say)."""
    offered = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in offered:
        raise DeviceError(
            f"the tagger was to run on CUDA, but the installed onnxruntime is without it: {REMEDY}"
        )
    if device == "cpu" or (device == "auto" and not _nvidia_driver()):
        return _open(files.model, [CPU]), ""
    if CUDA in offered and _nvidia_driver():
        session = _open_on_cuda(files.model)
        if CUDA in session.get_providers():
            return session, ""
    if device == "cuda":
        raise DeviceError(
            f"the tagger was to run on CUDA, but onnxruntime could not start it here: {REMEDY}"
        )
    return _open(files.model, [CPU]), f"the NVIDIA card here is not used: {INSTALL}"


def _open_on_cuda(path: Path) -> Any:
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not find
            onnxruntime.preload_dlls()
    # TF32 keeps ten bits of each factor: the same image would then differ from the CPU's by 1e-3.
    return _open(path, [(CUDA, {"use_tf32": "0"}), CPU])


def _nvidia_driver() -> bool:
    # Asked first, because onnxruntime without a driver prints red lines and tries for seconds.
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _open(path: Path, providers: Sequence[str | tuple[str, dict[str, str]]]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors have no common base
        if _is_pointer(path):
            raise ModelError(
                f"{path} is a Git LFS pointer, not the model: run `git lfs pull` in its folder, "
                "or download the file from the model's page"
            ) from error
        raise ModelError(
            f"{path} is no ONNX model that onnxruntime {onnxruntime.__version__} can open "
            f"({type(error).__name__}): download it again, or update onnxruntime"
        ) from error


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def _input_shape(session: Any, path: Path) -> tuple[int, bool, int]:
    """Size in pixels, whether channels come first, and the batch the model is fixed to (0: any)."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    images = len(shape) == 4 and inputs[0].type == "tensor(float)"
    batch = shape[0] if images and isinstance(shape[0], int) else 0
    for channels_first, sides, channels in (
        (False, shape[1:3], shape[3:]),
        (True, shape[2:], shape[1:2]),
    ):
        if images and channels == [3] and isinstance(sides[0], int) and sides[0] == sides[1]:
            return sides[0], channels_first, batch
    found = ", ".join(f"{entry.type} {list(entry.shape)}" for entry in inputs)
    raise ModelError(
        f"{path} is no WD14 tagger: its input is {found}, "
        "but one tensor(float) [n, size, size, 3] or [n, 3, size, size] is wanted"
    )


def _output(tagger: Tagger, files: Files) -> tuple[str, bool]:
    """The output that has a number for each label, and whether that still wants a sigmoid.

    Of several (some models give logits, probabilities and an embedding) probabilities are taken.
    """
    outputs = [one for one in tagger._session.get_outputs() if len(one.shape) == 2]
    if not outputs:
        shape = list(tagger._session.get_outputs()[0].shape)
        raise ModelError(
            f"{files.model} is no WD14 tagger: its output is {shape}, but [n, labels] is wanted"
        )
    answers = {one.name: _probed(tagger, one.name) for one in outputs}
    fitting = {name: rows for name, rows in answers.items() if rows.shape[1] == len(tagger.labels)}
    if not fitting:
        raise ModelError(
            f"{files.model} gives {answers[outputs[0].name].shape[1]} probabilities but "
            f"{files.tags} lists {len(tagger.labels)} tags: the two are not of the same model"
        )
    sure = [name for name, rows in fitting.items() if are_probabilities(rows)]
    return (sure or list(fitting))[0], not sure


def _probed(tagger: Tagger, output: str) -> npt.NDArray[np.float32]:
    """The model's answers to the probes, [probes, width]."""
    rows: list[npt.NDArray[np.float32]] = []
    images = probes(tagger.size)
    while len(rows) < len(images):
        part = images[len(rows) : len(rows) + tagger.batch]
        rows += list(() if (answers := tagger._answers(part, output)) is None else answers)
    return np.stack(rows)
