"""The command `prep`. Each command imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from schemas.command import run as run_command
from schemas.command import version

# each command's sort_key is its place in `--help`: as the chain runs, not by the alphabet
app = App(
    name="prep",
    help="From a booru query or a folder of images to a dataset to train on.",
    help_format="plaintext",
    version=version,
)

HERE = Path()
Folder = Annotated[Path, Parameter(help="The dataset folder.")]
Flag = Annotated[bool, Parameter(negative=())]
Words = Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False)]
Changes = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        negative=(),
        consume_multiple=False,
        help="Change one key of prep.toml for this time: --set dedup.bits=4.",
    ),
]


@app.command(sort_key=1)
def init(
    dir: Folder = HERE,
    *,
    query: str = "",
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    site: str = "",
    base: str = "",
    like: Literal["character", "style", "background", "situation", "object"] = "character",
    trigger: str = "",
) -> None:
    """Make a dataset folder: writes prep.toml and train.toml, with a comment on every key.

    Parameters
    ----------
    query
        What to ask the site for, such as "azusa_(blue_archive) -comic".
    source
        A folder of images, instead of a query.
    site
        A site with Danbooru's API.
    base
        The checkpoint to train on: a diffusers folder or a Hub id.
    like
        What the adapter is to learn.
    trigger
        The word that it is called by; found from the query when not given.
    """
    from prep.cli.base import kind_of
    from prep.init import init

    for file in init(
        dir,
        query=query,
        source=source,
        site=site,
        base=base,
        model=kind_of(base),
        like=like,
        trigger=trigger,
    ):
        print(file)


@app.command(sort_key=2)
def fetch(
    dir: Folder = HERE,
    *,
    restore: Flag = False,
    refresh: Flag = False,
    plan: Flag = False,
    json: Flag = False,
    changes: Changes = (),
) -> None:
    """List every set on its site, download what is new, verify it.

    Parameters
    ----------
    restore
        Take back the images that were removed by hand.
    refresh
        Only bring scores, tags, aliases and implications up to date, and mark posts that vanished.
    plan
        Only say what would be asked and tested, and what it would bring: posts, bytes, hours.
    json
        With --plan: print one JSON object, and nothing else, on stdout.
    """
    from prep import fetch as stage
    from schemas.errors import UsageError

    if restore and refresh:
        raise UsageError("give one of --restore and --refresh: the latter downloads nothing")
    if (plan or json) and (restore or refresh):
        asked, other = "--plan" if plan else "--json", "--restore" if restore else "--refresh"
        raise UsageError(f"give one of {asked} and {other}: a plan brings and changes nothing")
    if plan or json:
        from prep.cli import plan as page

        page.show(dir, changes, as_json=json)
        return

    _one(
        "fetch",
        dir,
        changes,
        stage.refresh if refresh else lambda d: stage.fetch(d, restore=restore),
    )


@app.command(name="import", sort_key=3)
def import_(
    dir: Folder,
    source: Annotated[Path, Parameter(name="--src")],
    *,
    set: str = "",
    role: Literal["train", "reg"] | None = None,
    repeats: int = 0,
) -> None:
    """Take a folder of one's own pictures into a dataset, with the captions beside them.

    Parameters
    ----------
    source
        A folder of images; or of folders named as sd-scripts names them, such as "4_azusa 1girl".
    set
        What the set is called; the folder's name when not given.
    role
        What the pictures are for; found from a folder "reg" when not given.
    repeats
        How often each is seen in an epoch; found from the folder's name when not given.
    """
    from prep.imports.add import add

    for one in add(dir, source, name=set, role=role, repeats=repeats):
        print(f"{one.name}: {one.images} images, {one.added} of them new")


@app.command(sort_key=4)
def replace(
    md5: Annotated[str, Parameter(help="The image: its md5, the beginning of it, or its file.")],
    file: Path | None = None,
    dir: Folder = HERE,
    *,
    undo: Flag = False,
) -> None:
    """Put a cropped or repainted picture in an image's place, which keeps its post, tags and edits.

    Parameters
    ----------
    file
        The picture; with --undo it is left out, and the dataset folder may stand here.
    undo
        Put the image back that came first.
    """
    from prep.replace import put_back, replace
    from schemas.errors import UsageError

    if undo:
        print(put_back(dir if file is None else file, md5))
    elif file is None:
        raise UsageError("give the picture to put in its place, or --undo: prep replace MD5 FILE")
    else:
        print(replace(dir, md5, file))


@app.command(sort_key=5)
def dedup(
    dir: Folder = HERE, *, refit: Flag = False, show: Flag = False, changes: Changes = ()
) -> None:
    """Group the images that are one picture, and choose which stands for each group.

    Parameters
    ----------
    refit
        Choose all keepers anew.
    show
        Write reports/duplicates.html, a sheet of the groups, and print its path.
    """
    from prep.dedup import dedup

    _one("dedup", dir, changes, lambda dataset: dedup(dataset, refit=refit))
    if show:
        from prep.dataset import Dataset
        from prep.report.duplicates import duplicates

        print(duplicates(Dataset.open(dir, changes)))


@app.command(sort_key=6)
def tag(
    dir: Folder = HERE, *, calibrate: Flag = False, refit: Flag = False, changes: Changes = ()
) -> None:
    """Run every image through the taggers once and keep the probabilities.

    Parameters
    ----------
    calibrate
        Fit a threshold to each tag by the booru's own tags, and show what that changes. The fit is
        kept; captions go by it with calibrated = true in [tag].
    refit
        Fit the thresholds anew.
    """
    from prep.tag import tag

    _one("tag", dir, changes, lambda dataset: tag(dataset, calibrate=calibrate, refit=refit))
    if calibrate or refit:
        from prep.cli import thresholds
        from prep.dataset import Dataset
        from schemas.tables import THRESHOLDS

        dataset = Dataset.open(dir, changes)
        thresholds.show(dataset.table(THRESHOLDS), dataset.recipe.tag)


@app.command(sort_key=7)
def caption(
    dir: Folder = HERE, *, refit: Flag = False, diff: Flag = False, changes: Changes = ()
) -> None:
    """Make captions from tags by the rules of prep.toml.

    Parameters
    ----------
    refit
        Fit anew what is fitted to all images and then kept: the features that the trigger stands
        for, the ranking of scores.
    diff
        Only show what would change against the captions as they are, rule by rule, and write the
        full list into reports/; with --refit, what refitting would change.
    """
    if diff:
        from prep.cli import diff as page
        from prep.cli.opened import opened

        page.show(opened(dir, changes), refit=refit)
        return

    from prep.caption import caption

    _one("caption", dir, changes, lambda dataset: caption(dataset, refit=refit))


@app.command(sort_key=7.5)
def edit(
    query: Annotated[str, Parameter(help='Which images: "hat -helmet score:>=18"; "": all.')] = "",
    dir: Folder = HERE,
    *,
    add: Words = (),
    remove: Words = (),
    replace: Annotated[tuple[tuple[str, str], ...], Parameter(negative=())] = (),
    set: str | None = None,
    caption: str | None = None,
    exclude: Flag = False,
    include: Flag = False,
    reason: str = "",
    open: Flag = False,
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    dry_run: Flag = False,
    undo: Flag = False,
    redo: Flag = False,
    log: Flag = False,
) -> None:
    """Change captions for good: edits outlive new rules, thresholds, posts and keepers.

    The query looks at the tags of captions as they now stand, and at what posts say. With --undo,
    --redo and --log there is no query: a number and the dataset folder may stand in its place.

    Parameters
    ----------
    add
        Tags that the images are to have, with commas between them.
    remove
        Tags that they are not to have.
    replace
        A tag, and the one that takes its place.
    set
        The tags instead of all that they have; trigger and quality tags stay as rules make them.
    caption
        The whole caption, word for word; "|||" parts a fixed head and tail from the rest.
    exclude
        Take the images out of their set.
    include
        Put images back that were taken out so.
    reason
        Why they are excluded, for the list of drops.
    open
        Open the captions as lines of a text in your editor ($VISUAL, $EDITOR); what you change is
        edited when it is closed.
    source
        Take captions back that were edited elsewhere: the folder of a `prep export`, a list in it,
        or manifest.parquet. Only what you changed becomes an edit. There is no query.
    dry_run
        Only show what would change.
    undo
        Take back the last edit, or the last N: --undo 3.
    redo
        Do what was undone again.
    log
        List all edits.
    """
    from prep.cli import edits as command
    from prep.edits.edit import Wanted
    from schemas.errors import UsageError

    wanted = Wanted(add, remove, replace, set, caption, exclude, include, reason)
    if undo or redo or log:
        if undo + redo + log > 1 or not wanted.nothing or dry_run or open or source:
            raise UsageError("--undo, --redo and --log each stand alone")
        count, folder = command.count_and_folder(query, dir)
        if log:
            command.log(folder)
        else:
            command.back_or_forth(folder, count, back=undo)
    elif open or source:
        if not wanted.nothing or (open and source):
            raise UsageError("--open and --from each stand alone: the captions say what to do")
        if source:
            command.take_back(Path(query) if query else dir, source, dry_run=dry_run)
        else:
            command.open_lines(dir, query, dry_run=dry_run)
    else:
        command.edit(dir, query, wanted, dry_run=dry_run)


@app.command(sort_key=7.7)
def lint(
    dir: Folder = HERE,
    *,
    fix: Flag = False,
    only: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False)] = (),
    json: Flag = False,
    changes: Changes = (),
) -> int:
    """Say what is amiss in captions and regularization images, and which rule mends it.

    Exit status 1 where something is left to mend, 0 where nothing is.

    Parameters
    ----------
    fix
        Write the rules into prep.toml, whose comments stay; those of what is only worth knowing
        (·) where --only names it.
    only
        Findings of this name alone, such as "people removed"; several times for several.
    json
        Print one JSON object, and nothing else, on stdout.
    """
    from prep.cli.lint import as_json, check, show
    from prep.dataset import Dataset

    result = check(Dataset.open(dir, changes), fix=fix, only=only)
    print(as_json(result)) if json else show(result)
    return result.status


@app.command(sort_key=8)
def reg(dir: Folder = HERE, *, refit: Flag = False, changes: Changes = ()) -> None:
    """Choose regularization images that are like the training images, and near none of them.

    Parameters
    ----------
    refit
        Choose all anew.
    """
    from prep.reg import reg

    _one("reg", dir, changes, lambda dataset: reg(dataset, refit=refit))


@app.command(sort_key=9)
def manifest(dir: Folder = HERE, *, changes: Changes = ()) -> None:
    """Write manifest.parquet, the one table that training reads."""
    _one("manifest", dir, changes)


@app.command(sort_key=10)
def latents(dir: Folder = HERE, *, changes: Changes = ()) -> None:
    """Encode the images that training wants, by the VAE and sizes of train.toml."""
    _one("latents", dir, changes)


@app.command(sort_key=11)
def run(dir: Folder = HERE, *, changes: Changes = ()) -> None:
    """Do all that is wanted, in order, and nothing that is not."""
    from prep import chain
    from prep.cli.opened import opened
    from prep.cli.steps import ALL
    from schemas.progress import say

    if not chain.run(opened(dir, changes), ALL):
        say("nothing to do: all stages are up to date (`prep fetch` looks for new posts)")


@app.command(sort_key=12)
def status(dir: Folder = HERE, *, json: Flag = False, changes: Changes = ()) -> None:
    """Show where each stage stands: rows in and out, drops by reason, what is wanted.

    Parameters
    ----------
    json
        Print one JSON object, and nothing else, on stdout.
    """
    from prep import chain
    from prep.cli import show
    from prep.cli.opened import opened
    from prep.cli.steps import ALL

    stages = chain.status(opened(dir, changes), ALL)
    print(show.status_json(stages)) if json else show.status(stages)


@app.command(sort_key=13)
def report(
    dir: Folder = HERE, *, run: Path | None = None, no_drawing: Flag = False, changes: Changes = ()
) -> None:
    """Write report.html: what was fetched and dropped, tags, captions, training, pictures.

    Parameters
    ----------
    run
        The folder of a run, instead of the one of train.toml.
    no_drawing
        Show the pictures that are drawn already, and draw none.
    """
    from prep.cli.report import report
    from prep.dataset import Dataset

    print(report(Dataset.open(dir, changes), run, draw=not no_drawing))


@app.command(sort_key=13.5)
def export(
    target: Annotated[Path, Parameter(help="The folder to write; it may hold nothing else.")],
    dir: Folder = HERE,
    *,
    to: Literal["kohya", "imagefolder", "jsonl", "txt"],
    copy: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Write the images and captions to train on for another program.

    Images are hard links where the file system has them, so that no byte is copied.

    Parameters
    ----------
    to
        kohya: folders such as 2_main, reg apart, a text beside each image. imagefolder: for Hugging
        Face's datasets. jsonl: all facts, a line for each image. txt: images and texts, no more.
    copy
        Copy the images, so that they can be edited where they are.
    overwrite
        Write into a folder that holds other things, over those of the same name.
    """
    from prep.dataset import Dataset
    from prep.exports.write import export

    for one in export(Dataset.open(dir), target, to, copy=copy, overwrite=overwrite):
        print(f"{one.folder}: {one.images} images of {one.name}")


@app.command(sort_key=14)
def doctor(dir: Folder = HERE, *, json: Flag = False) -> int:
    """Say what this machine can do, and what to install where it cannot.

    Parameters
    ----------
    json
        Print one JSON object, and nothing else, on stdout.
    """
    from prep.cli import show
    from prep.doctor import doctor

    findings = doctor(dir)
    print(show.doctor_json(findings)) if json else show.doctor(findings)
    return 0 if all(finding.well for finding in findings) else 1


@app.command(sort_key=15)
def gc(dir: Folder = HERE, *, images: Flag = False, dry_run: Flag = False) -> None:
    """Free what nothing wants: leftovers of kills, other taggers' tables, other sizes' latents.

    Parameters
    ----------
    images
        Also remove originals that belong to no set any more.
    dry_run
        Only say what would go.
    """
    from prep.cli.gc import gc
    from prep.dataset import Dataset

    freed = gc(Dataset.open(dir), images=images, dry_run=dry_run)
    print(f"{'would free' if dry_run else 'freed'} {freed / 1e6:,.1f} MB")


@app.command(sort_key=16)
def demo(
    dir: Annotated[Path, Parameter(help="The folder to make.")] = Path("demo"),
    *,
    compare: Annotated[
        tuple[str, ...] | None, Parameter(negative=(), consume_multiple=True)
    ] = None,
    seeds: int | None = None,
) -> None:
    """Try everything without a network: a booru of drawings, the whole chain, a trained adapter.

    Parameters
    ----------
    compare
        Instead, run experiments that come with kiroku, such as rank, and write a page of each;
        without names blocks, rank and regularization. Two to three minutes for every arm and
        seed on one core: about an hour for these three. Stopped, it goes on.
    seeds
        How many trainings of each arm; one is a quick look that decides nothing. Left out: as many
        as the experiment wants.
    """
    from schemas.errors import UsageError

    if compare is None:
        from prep.cli.demo import demo

        if seeds is not None:
            raise UsageError("--seeds is for --compare: say which experiments, or none for three")
        result = demo(dir)
        print(result.adapter)
        print(result.grid)
        print(result.report)
        return
    from prep.cli.demo_compare import demo_compare

    if seeds is not None and seeds < 1:
        raise UsageError(f"--seeds {seeds}: every arm is trained once or more often")
    for page in demo_compare(dir, compare, seeds=seeds):
        print(page)


def _one(name: str, folder: Path, changes: tuple[str, ...], work: object = None) -> None:
    from prep import chain
    from prep.cli.opened import opened
    from prep.cli.steps import step

    chain.run_one(opened(folder, changes), step(name), work)  # type: ignore[arg-type]


def main() -> int:
    """Run the command; return its exit status."""
    return run_command(app)
