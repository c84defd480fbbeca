"""The reader of styles: right about drawings it has not seen, and it keeps what it has learnt."""

from pathlib import Path

import numpy as np
import pytest

from prep.demo import drawings
from prep.demo.model import build_model
from prep.demo.style_probe import StyleProbe, accuracy, by_artist, features, fit_probe, given_back
from prep.demo.vocabulary import ARTISTS

SIDE = 96


@pytest.fixture(scope="module")
def probe() -> StyleProbe:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "CHUNK", 1000)  # few drawings: sooner made than processes
        return fit_probe(350, SIDE, seed=1)


@pytest.mark.slow
def test_unseen_drawings_are_told_apart(probe: StyleProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "CHUNK", 1000)
    assert accuracy(probe, 140, SIDE, seed=2) > 0.85  # at 160 px, of more drawings, 0.97
    pixels = drawings.drawn(by_artist, 2, range(14), SIDE, SIDE)
    found = probe.probabilities(pixels)
    assert found.shape == (14, len(ARTISTS))
    assert found.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_probe_is_kept_in_a_file(probe: StyleProbe, tmp_path: Path) -> None:
    probe.save(tmp_path / "probe.npz")
    again = StyleProbe.load(tmp_path / "probe.npz")
    noise = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    assert np.array_equal(again.probabilities(noise), probe.probabilities(noise))


def test_a_plain_picture_can_be_measured() -> None:
    plain = np.stack([np.full((32, 48, 3), level, np.uint8) for level in (0, 128, 255)])
    found = features(plain)
    assert np.isfinite(found).all()
    assert found.dtype == np.float32


def test_an_autoencoder_gives_pictures_of_the_same_size(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(build_model(tmp_path / "model") / "vae")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    found = given_back(vae, pixels)
    assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
