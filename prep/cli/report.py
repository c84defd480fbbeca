"""`prep report`: the page, and the pictures on it that a run's adapters have to draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prep.cli.lint import words_of
from prep.dataset import Dataset
from prep.lint.finding import Finding
from prep.lint.lint import lint
from prep.report.grid import Column, Grid
from prep.report.page import page
from prep.report.run import Run, find_run
from schemas.errors import DeviceError, KirokuError
from schemas.files import fingerprint, sha256_of, write_text
from schemas.progress import say, task
from schemas.tables import CAPTIONS

STRENGTHS = (0.5, 0.75, 1.0)  # of the last adapter; earlier ones are drawn at 1
PAGE = "report.html"
Key = tuple[str, int, Column]  # prompt, seed, model


def report(dataset: Dataset, run_folder: Path | None = None, *, draw: bool = True) -> Path:
    """Write the page of a dataset, as far as it has come, and return its path.

    `run_folder`: a run other than that of train.toml. Pictures of the run are drawn once and kept
    in its folder `report`; with `draw` False only those that are there already are shown.
    """
    run = find_run(dataset, run_folder)
    shown, why = _grid(dataset, run, draw)
    path = dataset.root / PAGE
    write_text(path, page(dataset, run, shown, why, _found(dataset)))
    return path


def _found(dataset: Dataset) -> list[Finding] | None:
    """What lint finds; None where there are no captions yet."""
    if not dataset.path_of(CAPTIONS).is_file():
        return None
    try:
        return lint(dataset, *words_of(dataset))[1]
    except KirokuError as error:
        say(f"report: captions are not looked at: {error}")
        return None


def _grid(dataset: Dataset, run: Run | None, draw: bool) -> tuple[Grid | None, str]:
    """The pictures of a run; or why there are none, and what to do."""
    if run is None:
        return None, "No pictures yet: they are drawn when `train` has made an adapter."
    if not run.recipe.sample.prompts:
        return None, "The run's recipe names no `sample.prompts` to draw."
    try:
        columns = _columns(run)
    except KirokuError as error:
        return None, _untold(error)
    if not columns:
        return None, "No pictures yet: the run has saved no adapter so far."
    section, why = run.recipe.sample, "No pictures yet: `prep report` draws them."
    places = _places(
        run, [(p, s, c) for p in section.prompts for s in section.seeds for c in columns]
    )
    wanted = [key for key, path in places.items() if not path.is_file()]
    if draw and wanted:
        try:
            _draw(run, dataset.root, wanted, places)
        except KirokuError as error:  # the rest of the page is worth having without pictures
            why = _untold(error)
        for path in set((run.path / "report").glob("*.png")) - set(places.values()):
            path.unlink()
    there = {key: path for key, path in places.items() if path.is_file()}
    return Grid(section, columns, there), why


def _untold(error: KirokuError) -> str:
    say(f"report: no pictures are drawn: {error}")
    return f"No pictures could be drawn: {error}."


def _columns(run: Run) -> list[Column]:
    """The models that draw: base, the last adapter at its strengths, earlier ones at 1."""
    from train.finished import kept_checkpoints
    from train.run_folder import RunFolder

    kept = kept_checkpoints(RunFolder(run.path), run.recipe)
    if not kept:
        return []
    *earlier, (last, adapter) = kept
    return [
        Column(0.0, 0),
        *(Column(strength, last, adapter) for strength in STRENGTHS),
        *(Column(1.0, step, path, earlier=True) for step, path in earlier),
    ]


def _places(run: Run, keys: Sequence[Key]) -> dict[Key, Path]:
    """Where each picture is kept: under a name that follows from all that shapes it."""
    options = run.recipe.sample.model_dump(mode="json", exclude={"every", "prompts", "seeds"})
    model = run.recipe.model.model_dump(mode="json")
    adapters = {column.checkpoint for _, _, column in keys if column.checkpoint}
    digests = {path: sha256_of(path) for path in adapters}
    places = {}
    for prompt, seed, column in keys:
        adapter = digests[column.checkpoint] if column.checkpoint else ""
        name = fingerprint(adapter, column.strength, prompt, seed, options, model)
        places[prompt, seed, column] = run.path / "report" / f"{name}.png"
    return places


def _draw(run: Run, root: Path, wanted: Sequence[Key], places: Mapping[Key, Path]) -> None:
    """Draw what is not there yet, model by model, as many at once as memory is meant for.

    `root`: where the paths of the run's recipe start. Raises ModelError or DeviceError.
    """
    from torch import OutOfMemoryError

    from train.finished import open_run
    from train.sample import at_once, parameters, write_png

    opened = open_run(run.path, root=root)
    options, step = run.recipe.sample, at_once(run.recipe.sample.size)
    with task("report", len(wanted), "pictures") as advance:
        for column in dict.fromkeys(column for _, _, column in wanted):
            keys = [key for key in wanted if key[2] == column]
            for start in range(0, len(keys), step):
                some = keys[start : start + step]
                prompts, seeds, _ = zip(*some, strict=True)
                try:
                    with opened.at(column.checkpoint, column.strength):
                        drawn = opened.painter.draw_batch(
                            *(prompts, options.negative, seeds),
                            *(options.size, options.steps, options.guidance),
                        )
                except OutOfMemoryError as error:
                    width, height = options.size
                    raise DeviceError(
                        f"the device's memory is too small to draw {width} x {height} pixels:"
                        " train with a smaller `sample.size`"
                    ) from error
                for key, picture in zip(some, drawn, strict=True):
                    told = parameters(key[0], key[1], options, run.recipe.model)
                    write_png(places[key], picture, told)
                    advance()
