"""Listing posts to the end through pybooru, against a server that pages as Danbooru does."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest

from prep.booru import client as module
from prep.booru.client import FIELDS, BooruClient
from prep.booru.credentials import Credentials
from schemas.errors import KirokuError, SiteError

KEY = "s3cret-key"
NOBODY = Credentials()


def client_of(site: str, credentials: Credentials = NOBODY) -> BooruClient:
    return BooruClient(site, credentials, requests_per_second=1e6, files_per_second=1e6)


def booru(ids: list[int], hidden: set[int], answer: Any) -> Callable[[Any], Any]:
    """Newest first; a page is cut before hidden posts are taken out of it."""

    def posts(asked: Any) -> Any:
        page, limit = asked.query["page"], int(asked.query["limit"])
        if page.startswith("b"):
            listed = [n for n in ids if n < int(page[1:])][:limit]
        else:
            listed = ids[(int(page) - 1) * limit :][:limit]
        return answer(body=json.dumps([{"id": n} for n in listed if n not in hidden]).encode())

    return posts


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)


def test_pages_go_down_by_id_until_the_empty_one(server: Any, answer: Any) -> None:
    ids = list(range(30, 10, -1))
    server.answers = booru(ids, {29, 28, 20}, answer)
    pages = [[post["id"] for post in page] for page in client_of(server.url).posts("hat solo")]
    assert [post for page in pages for post in page] == [n for n in ids if n not in {29, 28, 20}]
    assert len(pages[0]) == 2  # a short page in the middle ends nothing
    assert [asked.query["page"] for asked in server.asked] == [
        f"b{module.ABOVE_ALL}", *(f"b{min(page)}" for page in pages)
    ]  # fmt: skip
    for asked in server.asked:
        assert asked.path == "/posts.json"
        assert asked.query["tags"] == "hat solo"
        assert asked.query["limit"] == "4"
        assert asked.query["only"] == FIELDS


def test_a_site_that_gives_one_page_for_ever_is_told(server: Any, answer: Any) -> None:
    server.answers = [answer(body=b'[{"id": 9}, {"id": 8}]')]
    with pytest.raises(SiteError) as told:
        list(client_of(server.url).posts("hat"))
    assert str(told.value) == (
        f"{server.url} lists post 8 again on the page below it: is it a site with Danbooru's API?"
    )
    assert len(server.asked) == 2


def test_an_order_is_listed_by_page_number_up_to_the_limit(server: Any, answer: Any) -> None:
    ids = list(range(30, 10, -1))
    server.answers = booru(ids, set(), answer)
    pages = list(client_of(server.url).posts("hat order:score", ordered=True))
    assert [asked.query["page"] for asked in server.asked] == ["1", "2", "3", "4", "5", "6"]
    assert [post["id"] for page in pages for post in page] == ids


def test_an_order_is_listed_no_further_than_the_site_numbers_pages(
    server: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NUMBERED_PAGES", 3)
    server.answers = booru(list(range(30, 10, -1)), set(), answer)
    assert len(list(client_of(server.url).posts("hat order:score", ordered=True))) == 3
    assert len(server.asked) == 3


def test_posts_are_counted(server: Any, answer: Any) -> None:
    server.answers = [answer(body=b'{"counts": {"posts": 12}}'),
                      answer(body=b'{"counts": {"posts": null}}')]  # fmt: skip
    client = client_of(server.url)
    assert client.count("hat solo") == 12
    assert client.count("solo") is None  # it took the site too long
    assert [(asked.path, asked.query["tags"]) for asked in server.asked] == [
        ("/counts/posts.json", "hat solo"), ("/counts/posts.json", "solo")
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"counts": 3}', b'{"counts": {"posts": "3"}}'])
def test_what_is_no_count_is_told(server: Any, answer: Any, body: bytes) -> None:
    server.answers = [answer(body=body)]
    with pytest.raises(SiteError) as told:
        client_of(server.url).count("hat")
    assert str(told.value) == f"{server.url} answered something that is no count of posts"


def test_aliases_are_asked_for_at_once(server: Any, answer: Any) -> None:
    server.answers = [
        answer(body=b'[{"id": 1, "antecedent_name": "wink", "consequent_name": "one_eye_closed"}]')
    ]
    client = client_of(server.url)
    assert client.aliases(set()) == {}
    assert client.aliases({"wink", "hat"}) == {"wink": "one_eye_closed"}
    (asked,) = server.asked
    assert asked.path == "/tag_aliases.json"
    assert asked.query["search[antecedent_name_comma]"] == "hat,wink"
    assert asked.query["search[status]"] == "active"


def test_what_is_no_list_of_aliases_is_told(server: Any, answer: Any) -> None:
    server.answers = [answer(body=b'[{"id": 1}]')]
    with pytest.raises(SiteError) as told:
        client_of(server.url).aliases(["wink"])
    assert str(told.value) == f"{server.url} answered something that is no list of aliases"


def test_many_names_are_few_requests_and_every_page_is_read(
    server: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 300)
    graph = {f"tag_({n})": [f"up_{n}", f"up_{n % 7}"] for n in range(900)}
    edges = [(name, up) for name, ups in graph.items() for up in sorted(set(ups))]
    rows = [
        {"id": n, "antecedent_name": name, "consequent_name": up}
        for n, (name, up) in enumerate(edges, 1)
    ]

    def reply(asked: Any) -> Any:
        names = set(asked.query["search[antecedent_name_comma]"].split(","))
        below = int(asked.query.get("page", "b9999999")[1:])
        found = [row for row in rows if row["antecedent_name"] in names and row["id"] < below]
        return answer(body=json.dumps(found[::-1][: int(asked.query["limit"])]).encode())

    server.answers = reply
    told = client_of(server.url).implications({*graph, "hat"})
    assert told == {name: set(ups) for name, ups in graph.items()}
    batches = {asked.query["search[antecedent_name_comma]"] for asked in server.asked}
    assert len(batches) == 3
    assert {asked.path for asked in server.asked} == {"/tag_implications.json"}
    assert all(len(quote_plus(names)) <= 6000 for names in batches)


def test_categories_come_in_words(server: Any, answer: Any) -> None:
    server.answers = [
        answer(
            body=b'[{"id": 1, "name": "azusa", "category": 4},'
            b' {"id": 2, "name": "x", "category": 9}]'
        )
    ]
    assert client_of(server.url).categories(["azusa", "x"]) == {"azusa": "character"}
    assert server.asked[0].query["search[name_comma]"] == "azusa,x"


@pytest.mark.parametrize(
    ("level", "tags"), [("Member", 2), ("Restricted", 2), ("Gold", 6), ("Platinum", 10**6),
                        ("Builder", 10**6)]
)  # fmt: skip
def test_how_many_tags_an_account_may_search_for(
    server: Any, answer: Any, level: str, tags: int
) -> None:
    server.answers = [answer(body=json.dumps({"level_string": level}).encode())]
    client = client_of(server.url, Credentials("me", KEY))
    assert client.tag_limit() == client.tag_limit() == tags
    assert len(server.asked) == 1
    assert client_of(server.url).tag_limit() == 2


@pytest.mark.parametrize("body", [b"{}", b'{"success": true}', b"[1]", b'[{"md5": "a"}]', b'"a"',
                                  b'[{"id": "7"}]'])  # fmt: skip
def test_what_is_no_list_of_posts_is_told(server: Any, answer: Any, body: bytes) -> None:
    server.answers = [answer(body=body)]
    with pytest.raises(SiteError) as told:
        list(client_of(server.url).posts("hat"))
    assert str(told.value) == f"{server.url} answered something that is no list of posts"


def test_a_page_that_is_no_json_is_told(server: Any, answer: Any) -> None:
    server.answers = [answer(body=b"<!doctype html>")]
    with pytest.raises(SiteError) as told:
        client_of(server.url).reach()
    assert str(told.value) == (
        f"{server.url} answered something that is no JSON"
        " (JSON Error: Expecting value in line 1 column 1): is it a site with Danbooru's API?"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 410, 422, 451, 500])
def test_no_status_reaches_pybooru_and_no_text_holds_the_key(
    server: Any, answer: Any, status: int
) -> None:
    server.answers = [answer(status, b"{}")]
    client = client_of(server.url, Credentials("me", KEY))
    with pytest.raises(KirokuError) as told:
        list(client.posts("hat"))
    assert KEY not in str(told.value)
    assert KEY not in repr(client) + repr(client.session) + repr(client._api)
    assert len(server.asked) == 1


def test_a_site_that_is_not_there_is_told(nobody: str) -> None:
    with pytest.raises(SiteError) as told:
        client_of(f"http://{nobody}").reach()
    assert str(told.value) == (
        f"{nobody} cannot be reached (no connection):"
        " check the address and your connection, then run the command again"
    )


def test_the_key_goes_to_the_api_as_basic_auth_and_not_to_files(server: Any, other: Any) -> None:
    client = client_of(server.url, Credentials("me", KEY))
    client.reach()
    client.session.file(other.url + "/a.png").close()
    (asked,) = server.asked
    expected = base64.b64encode(f"me:{KEY}".encode()).decode()
    assert asked.headers["authorization"] == f"Basic {expected}"
    assert KEY not in str(asked.query)
    assert asked.headers["user-agent"].endswith(" (by me)")
    assert KEY not in str(other.asked[0])
    assert expected not in str(other.asked[0])


def test_the_level_of_the_account(server: Any, answer: Any) -> None:
    server.answers = [answer(body=b'{"level_string": "Gold"}')]
    assert client_of(server.url, Credentials("me", KEY)).level() == "gold"
    assert client_of(server.url).level() == "anonymous"
    assert [asked.path for asked in server.asked] == ["/profile.json"]


def test_a_profile_that_is_none_is_told(server: Any, answer: Any) -> None:
    with pytest.raises(SiteError) as told:
        client_of(server.url, Credentials("me", KEY)).level()
    assert str(told.value) == f"{server.url} answered something that is no profile"


def test_a_site_of_this_network_needs_no_dot_in_its_name() -> None:
    assert client_of("http://booru:3000")._api.site_url == "http://booru:3000"
