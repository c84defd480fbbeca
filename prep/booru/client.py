"""The Danbooru API through pybooru: listing posts to the end, and who we are there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from pybooru import Danbooru
from pybooru.exceptions import PybooruError

from prep.booru.credentials import Credentials
from prep.booru.pacing import Pace
from prep.booru.session import BooruSession
from prep.booru.statuses import NotFoundOnSite
from schemas.errors import SiteError

PAGE = 200  # the most posts that a page holds
NUMBERED_PAGES = 1000  # the most that any account may ask for by number
ABOVE_ALL = 2**31 - 1  # no post has an id above it
FILES_BURST = 4
TAG_LIMITS = {"anonymous": 2, "restricted": 2, "member": 2, "gold": 6}  # tags in a search
NO_TAG_LIMIT = 10**6
MOST_ROWS = 1000  # of other indexes than posts
MOST_NAMES = 6000  # characters of names in a request: servers refuse lines of more than 8 KiB
CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta"}
FIELDS = (
    "id,md5,file_ext,file_size,image_width,image_height,rating,score,fav_count,created_at,"
    "updated_at,parent_id,is_deleted,is_banned,source,file_url,tag_string_general,"
    "tag_string_character,tag_string_copyright,tag_string_artist,tag_string_meta,"
    "media_asset[pixel_hash,duration]"
)
WITH_VARIANTS = FIELDS.removesuffix("]") + ",variants[type,url,width,height,file_ext]]"

Post = Mapping[str, Any]  # a post as the site's JSON has it


class BooruClient:
    """One site, one account, one pace. Not for several threads, but for `session.file`."""

    def __init__(
        self,
        site: str,
        credentials: Credentials,
        requests_per_second: float = 1.0,
        files_per_second: float = 4.0,
        *,
        variants: bool = False,
    ) -> None:
        """`variants`: also ask which smaller versions there are, which doubles the answers."""
        self.site = site
        self._fields = WITH_VARIANTS if variants else FIELDS
        self._level = ""
        self.session = BooruSession(
            api=Pace(requests_per_second),
            files=Pace(files_per_second, burst=FILES_BURST),
            account=credentials.login,
        )
        # pybooru's own check of the address refuses sites such as http://booru:3000
        self._api = Danbooru(
            site_name="danbooru", username=credentials.login, api_key=credentials.api_key
        )
        self._api._Pybooru__site_url = site
        self._api.client = self.session

    def posts(self, query: str, *, ordered: bool = False) -> Iterator[list[Post]]:
        """Yield pages of posts that answer to `query`, newest first, until the empty page.

        Short pages occur in the middle, because hidden posts are taken out, and end nothing.
        ordered: as the query's `order:` says, which works with numbered pages only. We ask for
        no more of them than any account may, 200,000 posts, whatever this account's level.
        """
        if ordered:
            for number in range(1, NUMBERED_PAGES + 1):
                if not (posts := self._list(query, number)):
                    return
                yield posts
            return
        # by id from the first page on: with `date:` the site's page 1 goes by another order
        below = ABOVE_ALL
        while posts := self._list(query, f"b{below}"):
            lowest = min(int(post["id"]) for post in posts)
            if lowest >= below:
                raise SiteError(
                    f"{self.site} lists post {lowest} again on the page below it:"
                    " is it a site with Danbooru's API?"
                )
            yield posts
            below = lowest

    def page(self, query: str, below: int = ABOVE_ALL) -> list[Post]:
        """Return one page of posts with ids below `below`, newest first."""
        return self._list(query, f"b{below}")

    def count(self, query: str) -> int | None:
        """Return how many posts answer to `query`; None where the site took too long to count."""
        answer = self._call(lambda: self._api.count_posts(query))
        counts = answer.get("counts") if isinstance(answer, dict) else None
        posts = counts.get("posts", False) if isinstance(counts, dict) else False
        if posts is not None and (not isinstance(posts, int) or isinstance(posts, bool)):
            raise SiteError(f"{self.site} answered something that is no count of posts")
        return posts

    def aliases(self, names: Collection[str]) -> dict[str, str]:
        """Return the names that took the place of those that are aliases."""
        found = self._relations("tag_aliases", "antecedent_name", names)
        return dict(found)

    def aliases_of(self, names: Collection[str]) -> dict[str, str]:
        """Return the aliases whose place was taken by these names, with the one that took it."""
        found = self._relations("tag_aliases", "consequent_name", names)
        return dict(found)

    def implications(self, names: Collection[str]) -> dict[str, set[str]]:
        """Return what each of these tags implies directly, if anything."""
        implied: dict[str, set[str]] = {}
        for name, other in self._relations("tag_implications", "antecedent_name", names):
            implied.setdefault(name, set()).add(other)
        return implied

    def categories(self, names: Collection[str]) -> dict[str, str]:
        """Return the category of each of these tags that the site has."""
        rows = self._rows("tags", "name", names, {"only": "id,name,category"})
        return {
            str(row["name"]): CATEGORIES[row["category"]]
            for row in rows
            if row["category"] in CATEGORIES
        }

    def _relations(self, index: str, key: str, names: Collection[str]) -> list[tuple[str, str]]:
        options = {"search[status]": "active", "only": "id,antecedent_name,consequent_name"}
        rows = self._rows(index, key, names, options)
        return [(str(row["antecedent_name"]), str(row["consequent_name"])) for row in rows]

    def _rows(
        self, index: str, key: str, names: Collection[str], options: Mapping[str, str]
    ) -> list[Mapping[str, Any]]:
        """The rows of an index whose `key` is one of the names, few requests for many names."""
        found: list[Mapping[str, Any]] = []
        for some in _batches(sorted(names)):
            asked: dict[str, Any] = {**options, f"search[{key}_comma]": ",".join(some)}
            asked["limit"] = MOST_ROWS
            while rows := self._page_of(index, asked):
                found += rows
                if len(rows) < MOST_ROWS:
                    break
                asked["page"] = f"b{min(int(row['id']) for row in rows)}"
        return found

    def _page_of(self, index: str, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        rows = self._call(lambda: self._api._get(f"{index}.json", asked))
        wanted = set(asked["only"].split(","))
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and wanted <= row.keys() for row in rows
        ):
            what = {"tag_aliases": "aliases", "tag_implications": "implications"}.get(index, index)
            raise SiteError(f"{self.site} answered something that is no list of {what}")
        return rows

    def tag_limit(self) -> int:
        """Return how many tags this account may search for at a time."""
        return TAG_LIMITS.get(self.level(), NO_TAG_LIMIT)

    def by_id(self, ids: Sequence[int]) -> Iterator[list[Post]]:
        """Yield pages of those posts of `ids` that there still are, a page's worth at a time."""
        for start in range(0, len(ids), PAGE):
            missing = set(ids[start : start + PAGE])
            for page in self.posts(f"id:{','.join(map(str, sorted(missing)))}"):
                yield page
                missing -= {int(post["id"]) for post in page}
                if not missing:  # no need to see the empty page
                    break

    def level(self) -> str:
        """The account's level in the site's words; "anonymous" without one. Asked once."""
        if not self._api.username:
            return "anonymous"
        if not self._level:
            self._level = self._ask_level()
        return self._level

    def _ask_level(self) -> str:
        profile = self._call(lambda: self._api._get("profile.json"))
        if not isinstance(profile, dict):
            raise SiteError(f"{self.site} answered something that is no profile")
        return str(profile.get("level_string", "member")).lower()

    def reach(self) -> None:
        """Ask the site for one post. Raises SiteError when it cannot be had."""
        self._call(lambda: self._api.post_list(limit=1, only="id"))

    def _list(self, query: str, page: int | str) -> list[Post]:
        posts = self._call(
            lambda: self._api.post_list(tags=query, limit=PAGE, page=page, only=self._fields)
        )
        if not isinstance(posts, list) or not all(
            isinstance(post, dict) and isinstance(post.get("id"), int) for post in posts
        ):
            raise SiteError(f"{self.site} answered something that is no list of posts")
        return posts

    def _call(self, ask: Any) -> Any:
        try:
            return ask()
        except NotFoundOnSite as error:
            raise SiteError(f"{error}: is {self.site} a site with Danbooru's API?") from None
        except PybooruError as error:  # what our session let pass: a 200 that is no JSON
            raise SiteError(
                f"{self.site} answered something that is no JSON ({error}):"
                " is it a site with Danbooru's API?"
            ) from None


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    """Parts of the names that each fit into one request."""
    batch: list[str] = []
    length = 0
    for name in names:
        cost = len(quote_plus(name)) + len("%2C")
        if batch and length + cost > MOST_NAMES:
            yield batch
            batch, length = [], 0
        batch.append(name)
        length += cost
    if batch:
        yield batch
