"""What `order:` sorts by: names that the table of posts can answer, and names only the site can."""

from collections.abc import Mapping

_BOTH_WAYS = (
    *("score", "favcount", "created_at", "change", "mpixels", "filesize", "tagcount", "md5"),
    *("gentags", "arttags", "chartags", "copytags", "metatags"),
)

# each name that we can sort by -> the one name that is used for it
ORDERS: Mapping[str, str] = {
    **{"none": "none", "id": "id", "id_asc": "id", "id_desc": "id_desc"},
    **{"portrait": "portrait", "landscape": "landscape"},
    **{name: name for name in _BOTH_WAYS},
    **{f"{name}_desc": name for name in _BOTH_WAYS},
    **{f"{name}_asc": f"{name}_asc" for name in _BOTH_WAYS},
}

# these look at votes, comments, notes and people, of which a post's row says nothing
SITE_ORDERS = (
    *("upvotes", "downvotes", "duration", "views", "comment", "comm", "comment_bumped", "note"),
    *("artcomm", "rank", "curated", "modqueue", "custom"),
)

# these leave posts out, too: without a limit they are still not the same as no order
FILTERING = ("rank", "artcomm", "curated", "custom")
