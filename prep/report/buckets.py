"""In which sizes the images are trained, and how much of them the crop takes."""

import numpy as np

from prep.dataset import Dataset
from prep.report.html import Html, count, element, missing, section
from schemas.errors import KirokuError
from schemas.geometry import place
from schemas.recipes.load import load_train
from schemas.recipes.train import LatentsSection
from schemas.tables import MANIFEST

TITLE = "Buckets"
MUCH = 0.1  # of an image: a crop that may take something of the picture
SHOWN = 16


def buckets(dataset: Dataset) -> Html:
    """Show the manifest's images by bucket, by the geometry of train.toml."""
    if not dataset.manifest.is_file():
        return section("buckets", TITLE, "", missing("No manifest yet: `prep manifest` makes it."))
    try:
        latents = load_train(dataset.train_file).latents
        return _shown(dataset, latents)
    except KirokuError as error:
        return section("buckets", TITLE, "", missing(f"{error}."))


def _shown(dataset: Dataset, latents: LatentsSection) -> Html:
    table = MANIFEST.read(dataset.manifest)
    placed = place(table["width"].to_numpy(), table["height"].to_numpy(), latents)
    kept = placed.bucket_width > 0
    cropped = placed.cropped()[kept]
    shapes = np.stack([placed.bucket_width, placed.bucket_height], axis=1)[kept]
    if not len(shapes):
        return section("buckets", TITLE, "", missing("No image fits into a bucket."))
    sizes, which, counts = np.unique(shapes, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    much = int(np.count_nonzero(cropped > MUCH))
    images, side = len(np.unique(placed.image[kept])), latents.resolutions[-1]
    lead = (
        f"{count(images, 'image')} in {count(len(sizes), 'size')} of at most"
        f" {side} x {side} pixels; the crop takes"
        f" {cropped.mean():.1%} of them on average, and more than {MUCH:.0%} of {much:,}."
    )
    if placed.dropped:
        lead += f" {len(placed.dropped):,} are too small for any."
    rows = [
        _row(sizes[n], int(counts[n]), cropped[which.reshape(-1) == n], int(counts.max()))
        for n in order.tolist()
    ]
    head = element(
        "tr",
        *(element("th", name, scope="col") for name in ("size", "images")),
        *(element("th", name, scope="col", class_="number") for name in ("cut away", "at most")),
    )
    body = element("table", element("thead", head), element("tbody", rows))
    more = len(sizes) - len(order)
    note = element("p", f"and {count(more, 'size')} more", class_="settings") if more > 0 else None
    return section("buckets", TITLE, lead, element("div", body, class_="scroll pairs"), note)


def _row(size: np.ndarray, images: int, cropped: np.ndarray, most: int) -> Html:
    bar = element("i", class_="bar", style=f"width:{images / most:.1%}")
    return element(
        "tr",
        element("td", f"{size[0]} x {size[1]}"),
        element("td", element("span", bar, class_="track"), element("small", f"{images:,}")),
        element("td", f"{cropped.mean():.1%}", class_="number"),
        element("td", f"{cropped.max():.1%}", class_="number"),
    )
