"""A WD14-type ONNX tagger as an onnxruntime session: square RGB pixels -> probabilities.

Two exports are in use (https://huggingface.co/SmilingWolf), told apart by the input's shape:

    [n, size, size, 3]   WD14's own: BGR, float32 0..255; the output is a probability
    [n, 3, size, size]   timm's: BGR, (x / 255 - 0.5) / 0.5; the output wants a sigmoid
"""

import contextlib
import ctypes
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from schemas.errors import DeviceError, ModelError
from taggers.locate import Files, locate
from taggers.vocabulary import Label, read_labels

Device = Literal["auto", "cpu", "cuda"]
BATCH = {"cpu": 4, "cuda": 16}  # images a run; the models in use need up to 0.4 GB for each
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
FATAL = 4  # onnxruntime's log level: what it cannot do becomes our sentence, not its red lines
INSTALL = (
    "`pip uninstall onnxruntime`, then "
    '`pip install --force-reinstall "onnxruntime-gpu[cuda,cudnn]"`'
)
REMEDY = f'install an NVIDIA driver, {INSTALL}, or set device = "auto"'


@dataclass(frozen=True)
class Tagger:
    """A loaded tagger. On one device, results depend on its bytes and the pixels alone."""

    labels: tuple[Label, ...]
    size: int  # pixels, side of the square input
    key: str  # 16 hex digits of SHA-256 over model.onnx and selected_tags.csv
    device: str  # "cpu" or "cuda": what the session really runs on
    name: str  # what the person called it, for messages only
    batch: int  # images a run
    hint: str  # why it is not on the card that is here; "" otherwise
    _session: Any = field(repr=False)
    _channels_first: bool = field(repr=False)

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """RGB uint8 [n, size, size, 3] -> float32 [n, labels].

        Every run has `batch` images, the last filled up with white: with another number of them
        onnxruntime may choose other kernels and round differently.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"uint8 [n, {self.size}, {self.size}, 3] is wanted, not "
                f"{images.dtype} {list(images.shape)}"
            )
        rows = np.empty((len(images), len(self.labels)), np.float32)
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            filled = np.full((self.batch, *images.shape[1:]), 255, np.uint8)
            filled[: len(part)] = part
            rows[start : start + len(part)] = self._run(filled)[: len(part)]
        return rows

    def describe(self) -> str:
        """One line for the person: which tagger, how large, on which device."""
        place = {"cpu": "the CPU", "cuda": "the GPU (CUDA)"}[self.device]
        line = f"tagger {self.name}: {len(self.labels)} labels, {self.size} px, on {place}"
        return f"{line}; {self.hint}" if self.hint else line

    def _run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        values = _as_input(images, self._channels_first)
        into, out = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        rows = np.asarray(self._session.run([out], {into: values})[0], dtype=np.float32)
        return _sigmoid(rows) if self._channels_first else rows


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
    size, channels_first, fixed_batch = _input_shape(session, files.model)
    batch = fixed_batch or BATCH[used]
    tagger = Tagger(
        labels=labels,
        size=size,
        key=files.key,
        device=used,
        name=files.name,
        batch=batch,
        hint=hint,
        _session=session,
        _channels_first=channels_first,
    )
    _check_output(tagger, files)
    return tagger


def _as_input(images: npt.NDArray[np.uint8], channels_first: bool) -> npt.NDArray[np.float32]:
    bgr = images[..., ::-1]
    if not channels_first:
        return np.ascontiguousarray(bgr, np.float32)
    scaled = (bgr.astype(np.float32) / 255 - 0.5) / 0.5
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


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


def _check_output(tagger: Tagger, files: Files) -> None:
    shape = list(tagger._session.get_outputs()[0].shape)
    if len(shape) != 2:
        raise ModelError(
            f"{files.model} is no WD14 tagger: its output is {shape}, but [n, labels] is wanted"
        )
    width = shape[1]
    if not isinstance(width, int):
        white = np.full((tagger.batch, tagger.size, tagger.size, 3), 255, np.uint8)
        width = tagger._run(white).shape[1]
    if width != len(tagger.labels):
        raise ModelError(
            f"{files.model} gives {width} probabilities but {files.tags} lists "
            f"{len(tagger.labels)} tags: the two are not of the same model"
        )
