"""What listing many posts costs: requests, seconds and peak memory of `prep fetch` without files.

    python tests/bench/bench_listing.py --posts 50000

The embedded booru answers from another process; its metadata is made beforehand. What is measured
is a process of its own, which lists a whole site (`collect`), compares and keeps the rows
(`changed`, the table of posts), as `prep fetch` does before it downloads.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

SITE = """
import sys
from prep.demo import booru
from prep.demo.world import File, World
import hashlib, time

class Undrawn(World):
    # md5 and size are made up: no picture is drawn for fifty thousand rows of metadata
    def file(self, post):
        if post.id not in self._files:
            name = hashlib.md5(str(post.id).encode()).hexdigest()
            self._files[post.id] = File(name, 1_000_000, name[::-1])
        return self._files[post.id]

world = Undrawn(int(sys.argv[1]), 0, 512)
for id in world.ids:
    world.post(id)
with booru.running(world) as site:
    print(site.url, flush=True)
    sys.stdin.readline()
    print(site.count("/posts.json"), len(site.calls), flush=True)
"""


def main() -> None:
    """Print requests, seconds and peak memory, of one set that lists the whole site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--query", default="status:any", help="status:any lists every post")
    parser.add_argument("--measured", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measured:
        print(json.dumps(measure(*args.measured)))
        return
    served = subprocess.Popen(
        [sys.executable, "-c", SITE, str(args.posts)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert served.stdin is not None
    assert served.stdout is not None
    url = served.stdout.readline().strip()
    command = [sys.executable, __file__, "--measured", url, args.query]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    listed, requests = served.communicate("\n")[0].split()
    found = json.loads(answer)
    print(
        f"{args.posts} posts: {listed} listing requests, {requests} in all;"
        f" {found['matched']} matched, {found['rows']} rows kept in {found['seconds']:.1f} s;"
        f" peak memory {found['peak'] / 1e6:.0f} MB, of which {found['start'] / 1e6:.0f} MB before"
    )


def measure(url: str, query: str) -> dict[str, float]:
    """List a site into a new dataset folder. Memory in bytes, as the system counts it."""
    from prep.booru.client import BooruClient
    from prep.booru.credentials import Credentials
    from prep.dataset import Dataset
    from prep.init import init
    from prep.listing import changed, collect

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dataset"
        init(folder, query=query, site=url, trigger="x")
        dataset = Dataset.open(folder)
        client = BooruClient(url, Credentials(), 1e6, 1e6)
        start, clock = peak(), time.perf_counter()
        listing = collect(dataset, client)
        dataset.posts.append(changed(dataset, listing.pages))
        dataset.posts.fold()
        seconds = time.perf_counter() - clock
        rows = dataset.posts.read().num_rows
        matched = listing.rows_in
    return {"rows": rows, "matched": matched, "seconds": seconds, "peak": peak(), "start": start}


def peak() -> int:
    """The most memory this process has held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
