"""The embedded booru as a server: `python -m prep.demo.booru`, and `running` in a thread."""

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from prep.demo import manners
from prep.demo.faults import Faults
from prep.demo.site import Site
from prep.demo.world import World
from schemas.errors import SiteError

START_SECONDS = 20.0


@contextlib.contextmanager
def running(world: World, port: int = 0, host: str = "127.0.0.1", **options: Any) -> Iterator[Site]:
    """Serve `world` from a thread while the block runs; yield the site, its `url` filled in.

    port: 0 takes any free one. options: fields of `Site` (file_base, api_rate, file_rate, heavy,
    now, faults). There are no rate limits unless asked for.
    Raises SiteError when the port is taken.
    """
    with _listening(host, port) as listener:
        site = Site(world, url=_url(host, listener), **options)
        server = uvicorn.Server(_config(site))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            _wait_for(server, thread)
            yield site
        finally:
            server.should_exit = True
            thread.join()


def serve(world: World, port: int, host: str = "127.0.0.1", faults: Faults | None = None) -> None:
    """Serve `world` until interrupted, at the rates the real site allows."""
    with _listening(host, port) as listener:
        site = Site(
            world,
            url=_url(host, listener),
            api_rate=manners.API_RATE,
            file_rate=manners.FILE_RATE,
            faults=faults,
        )
        print(f"booru of {len(world.ids)} posts at {site.url} (stop with ctrl-C)", flush=True)
        uvicorn.Server(_config(site)).run([listener])


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m prep.demo.booru", description="Serve a small booru of drawings."
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes any free one")
    parser.add_argument("--posts", type=int, default=600, help="how many posts there are")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other worlds")
    parser.add_argument("--size", type=int, default=512, help="longest side of pictures, pixels")
    parser.add_argument(
        "--small", action="store_true", help="only what the demo's base model knows how to draw"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument(
        "--faults", action="store_true", help="storms of 429, cut files, stalls, posts that vanish"
    )
    given = parser.parse_args()
    faults = Faults(given.seed) if given.faults else None
    try:
        world = World(given.posts, given.seed, given.size, given.small)
        serve(world, given.port, given.host, faults)
    except SiteError as error:
        parser.exit(error.exit_status, f"{error}\n")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    # The protocol is named because asyncio turns delays off only where it is: 44 ms an answer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise SiteError(
                f"cannot serve at {host}:{port}, taken or not allowed: choose another port"
            ) from error
        listener.listen(128)
        yield listener


def _url(host: str, listener: socket.socket) -> str:
    name = "127.0.0.1" if host in ("", "0.0.0.0") else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _config(site: Site) -> uvicorn.Config:
    return uvicorn.Config(
        site.app,
        http=site.faults.protocol() if site.faults else "auto",
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
    )


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise SiteError("the embedded booru did not start: see the lines above")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
