"""Latents of the manifest's images: encoded once per VAE and geometry, then read memory-mapped.

    vae_key(vae: Vae) -> str                                     names the VAE by its bytes
    wanted(manifest, root, recipe, key) -> int                   how many images are yet to encode
    encode(manifest, root, recipe, vae, device, key) -> LatentStore
    stored(manifest, root, recipe, key) -> LatentStore           what is there already, no VAE
    gc(root, {key: keys(manifest, recipe)}) -> int               bytes freed

`manifest` is a table of schemas.tables.MANIFEST, `root` the folder that its paths start from (the
dataset folder, where `latents/` lies). Only `encode` and `LatentStore.read` import torch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.files import fingerprint
from schemas.geometry import Placement, place
from schemas.recipes.train import TrainRecipe
from train import latent_index
from train.latent_shards import FORMAT, OPAQUE, SHRINK, Shard
from train.model import Vae
from train.pixels import Picture
from train.variants import Variant, variants_of

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

LATENTS = "latents"  # folder of the dataset
NOT_ENCODED = "not encoded yet"


@dataclass(frozen=True)
class LatentStore:
    """The latents of a manifest's images: unscaled posterior means, mapped from their shards.

    They are found by place: an image has one in its manifest row's place, and of several
    resolutions more behind all of these (see geometry.Placement).
    """

    placement: Placement
    variants: Sequence[Variant]  # of every place, the image as it is first
    buckets: npt.NDArray[np.int32]  # [places, 2] width and height in pixels; 0, 0: no latent
    problems: Mapping[int, str]  # manifest row -> why it has no latent, or not all of them
    encoded: int  # pictures that went through the VAE to make this store, variants counted
    _shards: Sequence[Shard] = field(repr=False)
    _at: npt.NDArray[np.int32] = field(repr=False)  # [variants, places, 2]: shard, row in it

    def read(
        self, places: npt.NDArray[np.integer], variants: npt.NDArray[np.integer] | int = 0
    ) -> "torch.Tensor":
        """Return the latents of `places` of one bucket: float32 [n, 4, h, w] on the CPU.

        variants: [n], by their places in `variants`, or one for all. Multiply by the VAE's scaling
        factor before use. Raises DataError when an image has no latent or its bytes are damaged.
        """
        import torch

        for row in self.placement.image[places].tolist():
            if row in self.problems:
                raise DataError(f"manifest row {row} has no latent: {self.problems[row]}")
        shapes = np.unique(self.buckets[places], axis=0)
        if len(shapes) != 1:
            raise ValueError(f"rows of one bucket are read together, not of {shapes.tolist()}")
        latents = [self._shards[shard].read(int(row)) for shard, row in self._at[variants, places]]
        return torch.from_numpy(np.stack(latents))

    def masks(
        self, places: npt.NDArray[np.integer], variants: npt.NDArray[np.integer] | int = 0
    ) -> "torch.Tensor | None":
        """Return what counts of `read`'s latents, float32 [n, 1, h, w] in [0, 1]; None: all."""
        import torch

        held = [self._shards[shard].mask(int(row)) for shard, row in self._at[variants, places]]
        if all(mask is None for mask in held):
            return None
        width, height = (int(side) // SHRINK for side in self.buckets[places[0]])
        opaque = np.full((height, width), OPAQUE, np.uint8)
        masks = np.stack([opaque if mask is None else mask for mask in held])
        return torch.from_numpy(masks[:, None].astype(np.float32) / OPAQUE)

    def opacity(self) -> npt.NDArray[np.float32]:
        """Return the part of each place's picture that counts in masks, float32 [places]."""
        parts = np.ones(len(self.buckets), dtype=np.float32)
        masked = [number for number, shard in enumerate(self._shards) if shard.has_masks]
        for number in np.flatnonzero(np.isin(self._at[0, :, 0], masked)):
            shard, row = self._at[0, number]
            mask = self._shards[shard].mask(int(row))
            if mask is not None:
                parts[number] = mask.mean() / OPAQUE
        return parts


def vae_key(vae: Vae) -> str:
    """Name a VAE by its weights' bytes and what else shapes it, whatever its path.

    Raises ModelError when there is no VAE in its place.
    """
    return fingerprint("latents", FORMAT, vae.settings(), vae.sha256())


def keys(manifest: pa.Table, recipe: TrainRecipe) -> pa.Table:
    """The distinct keys of the latents that this manifest and geometry ask for."""
    request = _Request.of(manifest, recipe)
    return request.keys.take(request.first_lines())


def wanted(manifest: pa.Table, root: Path, recipe: TrainRecipe, key: str) -> int:
    """Count the pictures that `encode` would take on: variants with a bucket, not in the cache."""
    request = _Request.of(manifest, recipe)
    folder = root / LATENTS / key
    index, _ = latent_index.open_shards(folder, latent_index.read(folder))
    return len(request.missing(index))


def stored(manifest: pa.Table, root: Path, recipe: TrainRecipe, key: str) -> LatentStore:
    """Open what is encoded already; what is not is a problem of its row."""
    folder = root / LATENTS / key
    return _open(_Request.of(manifest, recipe), folder, latent_index.read(folder), {}, 0)


def encode(
    manifest: pa.Table,
    root: Path,
    recipe: TrainRecipe,
    vae: "AutoencoderKL",
    device: "torch.device",
    key: str,
) -> LatentStore:
    """Encode the images that the cache lacks; return the latents of every manifest row.

    `key` is the VAE's `vae_key`. The VAE is moved to `device` and to fp32 when there is
    work for it. An image that does not decode, or whose latent is not finite, is a row with a
    problem, kept like a latent; a file that is missing or changed is a problem of this time only.
    One process writes at a time: of several ranks the first encodes, the others open after it.

    Raises ModelError when the VAE does not shrink 8 times, DeviceError when one image does not fit
    into the device's memory, DiskError when the disk is full.
    """
    from train.latent_encoding import encode_missing

    request = _Request.of(manifest, recipe)
    folder = root / LATENTS / key
    index, _ = latent_index.open_shards(folder, latent_index.read(folder))
    lines = request.missing(index)
    outcome = encode_missing(
        request.keys.take(lines), request.pictures(root, lines), folder, index, vae, device
    )
    index = latent_index.merge(folder, outcome.index)
    return _open(request, folder, index, outcome.failures, outcome.encoded)


def gc(root: Path, wanted_keys: Mapping[str, pa.Table]) -> int:
    """Free what nothing wants: other VAEs' latents, other geometries, strays. Return the bytes.

    `wanted_keys`: for each VAE's key what `keys` gives; an empty mapping frees all latents. Files
    that are not ours stay.
    """
    freed = 0
    for folder in sorted((root / LATENTS).glob("*")):
        if not re.fullmatch("[0-9a-f]{16}", folder.name) or not folder.is_dir():
            continue
        if folder.name in wanted_keys:
            freed += latent_index.keep_only(folder, wanted_keys[folder.name])
        else:
            freed += latent_index.remove_all(folder)
    return freed


@dataclass(frozen=True)
class _Request:
    """What the manifest and the geometry ask for: a *line* for each place and variant.

    All places of a variant stand together, the variants in their order.
    """

    manifest: pa.Table
    placement: Placement
    variants: Sequence[Variant]
    keys: pa.Table  # columns KEY, one row per line
    names: pa.Array  # each key as a string; null where no bucket takes the image

    @staticmethod
    def of(manifest: pa.Table, recipe: TrainRecipe) -> "_Request":
        width, height = (manifest.column(side).to_numpy() for side in ("width", "height"))
        placement = place(width, height, recipe.latents)
        # sd-scripts averages areas where both sides shrink; see train.pixels for the other.
        image = placement.image
        shrinks = width[image] > placement.scaled_width
        shrinks &= height[image] > placement.scaled_height
        by_area = shrinks & (recipe.latents.buckets == "kohya")
        filters, md5s = np.where(by_area, "area", "lanczos"), manifest.column("md5").take(image)
        variants = variants_of(recipe.latents)
        keys = pa.concat_tables(
            latent_index.key_table(md5s, placement, filters, variant.name) for variant in variants
        )
        placed = pa.array(np.tile(placement.bucket_width > 0, len(variants)))
        names = pc.if_else(placed, latent_index.names(keys).combine_chunks(), None)
        return _Request(manifest, placement, variants, keys, names)

    def first_lines(self) -> npt.NDArray[np.int64]:
        """The first line of each key, in the order in which the keys are encoded."""
        table = self.keys.select(["bucket_width", "bucket_height"])
        table = table.append_column("name", self.names)
        table = table.append_column("at", pa.array(np.arange(len(table))))
        table = table.filter(pc.is_valid(table.column("name")))
        order = ("bucket_width", "bucket_height", "name", "at")
        table = table.sort_by([(column, "ascending") for column in order])
        name = table.column("name").to_numpy()
        first = np.r_[True, name[1:] != name[:-1]] if len(name) else np.zeros(0, dtype=bool)
        lines: npt.NDArray[np.int64] = table.column("at").to_numpy()[first]
        return lines

    def missing(self, index: pa.Table) -> npt.NDArray[np.int64]:
        """The lines of `first_lines` whose key is not in `index`."""
        lines = self.first_lines()
        known = pc.is_in(self.names.take(lines), latent_index.names(index).combine_chunks())
        lacking: npt.NDArray[np.int64] = lines[~known.to_numpy(zero_copy_only=False)]
        return lacking

    def pictures(self, root: Path, lines: npt.NDArray[np.int64]) -> list[Picture]:
        """What to decode for these lines."""
        variants, places = np.divmod(lines, max(1, len(self.placement.image)))
        rows = self.placement.image[places]
        columns = ("path", "width", "height")
        files = self.manifest.select(columns).take(rows).to_pylist()
        keys = self.keys.take(lines).to_pylist()
        return [
            Picture(
                path=root / file["path"],
                md5=key["md5"],
                size=(file["width"], file["height"]),
                scaled=(key["scaled_width"], key["scaled_height"]),
                corner=(key["crop_left"], key["crop_top"]),
                bucket=(key["bucket_width"], key["bucket_height"]),
                filter=key["filter"],
                variant=self.variants[variant],
            )
            for file, key, variant in zip(files, keys, variants, strict=True)
        ]


def _open(
    request: _Request, folder: Path, index: pa.Table, failures: Mapping[str, str], encoded: int
) -> LatentStore:
    """Map the shards and tell where each place's latents lie, or why an image has none."""
    index, opened = latent_index.open_shards(folder, index)
    found = pc.index_in(request.names, latent_index.names(index).combine_chunks(), skip_nulls=True)
    lines = index.select(["shard", "row", "problem"]).take(found)
    shard = pc.index_in(lines.column("shard"), pa.array(list(opened), pa.string()), skip_nulls=True)
    at = np.stack(
        [pc.fill_null(column, -1).to_numpy() for column in (shard, lines.column("row"))], axis=1
    ).astype(np.int32)
    lacking = np.flatnonzero(at[:, 0] < 0)
    told = zip(
        lacking.tolist(),
        lines.column("problem").take(lacking).to_pylist(),
        request.names.take(lacking).to_pylist(),
        strict=True,
    )
    placement, count = request.placement, len(request.placement.image)
    problems: dict[int, str] = {}
    for line, problem, name in told:
        row = int(placement.image[line % count])
        reason = placement.dropped.get(row) or problem or failures.get(name, NOT_ENCODED)
        problems.setdefault(row, reason)
    buckets = np.stack([placement.bucket_width, placement.bucket_height], axis=1)
    buckets[np.isin(placement.image, list(problems))] = 0
    at = at.reshape(len(request.variants), count, 2)
    shards = list(opened.values())
    return LatentStore(placement, request.variants, buckets, problems, encoded, shards, at)
