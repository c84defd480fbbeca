"""What queries mean, after Danbooru's documentation: posts written by hand, answers too."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from prep.query.columns import Posts
from prep.query.evaluate import matches
from prep.query.parse import parse

Found = Callable[[str], str]
ALL = "123456789"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ALL),
        ("hat", "12"),
        ("HAT", "12"),
        ("hat smile", "1"),
        ("  hat   smile ", "1"),
        ("hat\tsmile", "1"),
        ("hat and smile", "1"),
        ("hat AND smile", "1"),
        ("hat -helmet", "1"),
        ("-helmet hat", "1"),
        ("- helmet hat", "1"),
        ("-hat", "3456789"),
        ("hat or smile", "1257"),
        ("hat OR smile", "1257"),
        ("hat or smile or cat_ears", "12357"),
        ("hat helmet or smile", "1257"),
        ("smile or hat helmet", "1257"),
        ("hat (helmet or smile)", "12"),
        ("(helmet or smile) hat", "12"),
        ("hat -(helmet or smile)", ""),
        ("-(hat smile)", "23456789"),
        ("-(-hat)", "12"),
        ("~hat ~cat_ears", "123"),
        ("~hat ~cat_ears long_hair", "13"),
        ("~hat long_hair", "1"),
        ("~(hat helmet) ~cat_ears", "23"),
        ("~hat ~cat_ears or tears", "1238"),
        ("(hat)", "12"),
        ("((hat) or (cat_ears))", "123"),
        ("nobody_has_this", ""),
        ("hat hat", "12"),
        # letters that mean something elsewhere
        ("fate_(series)", "5"),
        ("(fate_(series) or hat)", "125"),
        ("(hat or fate_(series))", "125"),
        ("hat_(cat)", "6"),
        ("(hat_(cat))", "6"),
        (":)", "4"),
        ("(:) or hat)", "124"),
        ("(hat or :))", "124"),
        (":(", "6"),
        ("k-on!", "5"),
        ("100%_juice", "7"),
        ("re:zero", "8"),
        ("unaliased:re:zero", "8"),
        ("rating", "8"),
        ("o_o", "9"),
        ("steins;gate", "9"),
        ("somebody", "12345679"),
        ("hirasawa_yui", "5"),
        ("original", "12346789"),
        ("commentary", "9"),
        # wildcards
        ("*_hair", "123"),
        ("long*", "13"),
        ("*air", "123"),
        ("s*r", "2"),
        ("*", ALL),
        ("**_hair**", "123"),
        ("-*hair", "456789"),
        ("*_(*", "56"),
        ("*%*", "7"),
        ("o_*", "9"),
        ("*_HAIR", "123"),
        ("(*_hair or smile)", "12357"),
    ],
)
def test_tags_and_logic(found: Found, text: str, ids: str) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("score:6", "3"),
        ("SCORE:6", "3"),
        ("score:>=6", "123"),
        ("score:>6", "12"),
        ("score:<0", "4"),
        ("score:<=0", "46789"),
        ("score:6..18", "23"),
        ("score:18..6", "23"),
        ("score:6...18", "3"),
        ("score:..5", "456789"),
        ("score:18..", "12"),
        ("score:5,6,70", "135"),
        ("score:-4", "4"),
        ("score:-4..5", "456789"),
        ("score:<0,>=18", "124"),
        ("-score:>=6", "456789"),
        ('score:">=6"', "123"),
        ("score:'>=6'", "123"),
        ("favcount:>10", "1"),
        ("favcount:5,30", "12"),
        ("id:3", "3"),
        ("id:2..4", "234"),
        ("id:1,8", "18"),
        ("id:>6", "789"),
        ("-id:1,2", "3456789"),
        ("width:>=800", "278"),
        ("width:300", "13456"),
        ("height:..399", "9"),
        ("mpixels:>1", "78"),
        ("mpixels:2", "7"),
        ("mpixels:0.33", "2"),
        ("mpixels:0.4", ""),
        ("mpixels:0.32,2", "27"),
        ("ratio:2:1", "2"),
        ("ratio:2/1", "2"),
        ("ratio:2.0", "2"),
        ("ratio:3:4", "13456"),
        ("ratio:>1", "29"),
        ("ratio:5:8", "8"),
        ("ratio:0.63", "8"),
        ("ratio:0.62", ""),
        ("ratio:1.01", "9"),
        ("ratio:0.78", "7"),
        ("ratio:1:2..3:4", "134568"),
        ("filesize:200kb", "1"),
        ("filesize:205kb", "1"),
        ("filesize:204800", "1"),
        ("filesize:204801", ""),
        ("filesize:1mb", "6"),
        ("filesize:1M", "6"),
        ("filesize:>1.5mb", "8"),
        ("filesize:200kb..1mb", "16"),
        ("filesize:<1kb", "234579"),
        ("tagcount:5", "12"),
        ("tagcount:>5", "59"),
        ("gentags:3", "1258"),
        ("gentags:2 arttags:1 chartags:0 copytags:1 metatags:0", "3467"),
        ("arttags:0", "8"),
        ("chartags:1", "5"),
        ("copytags:2", "5"),
        ("metatags:>=1", "59"),
    ],
)
def test_numbers(found: Found, text: str, ids: str) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("date:2020-01-01", "12456"),
        ("date:2020/1/1", "12456"),
        ("date:2020", "12456"),
        ("date:2020-01", "12456"),
        ("date:2019-12", "8"),
        ("date:2019-12-31T23", "8"),
        ("date:2019-12-31_23:59", "8"),
        ("date:2019-12-31t23:59:58", ""),
        ("date:<2020-01-01", "8"),
        ("date:<=2020-01-01", "124568"),
        ("date:>2020-01-01", "379"),
        ("date:>=2020-01-01", "12345679"),
        ("date:>2020", "379"),
        ("date:<2020", "8"),
        ("date:2019-12-31..2020-01-01", "124568"),
        ("date:2019...2020-01-01", "8"),
        ("date:2019...2020-01-02", "124568"),
        ("date:2025,2019", "89"),
        ("date:2026-06-14", "7"),
        ("date:yesterday", "7"),
        ("date:today", ""),
        ("-date:2020", "3789"),
        ("age:<1w", "37"),
        ("age:<1week", "37"),
        ("age:>1w", "1245689"),
        ("age:2d..4d", "3"),
        ("age:2days..1week", "3"),
        ("age:3d", "3"),
        ("age:12h", "7"),
        ("age:13h", ""),
        ("age:1y", "9"),
        ("age:>=2years", "124568"),
        ("age:<13h", "7"),
        ("age:<5s", ""),
    ],
)
def test_times(found: Found, text: str, ids: str) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("rating:s", "17"),
        ("rating:Sensitive", "17"),
        ("rating:g,s", "135678"),
        ("rating:q,e", "24"),
        ("-rating:g", "12479"),
        ("is:general", "3568"),
        ("is:sfw", "135678"),
        ("is:nsfw", "24"),
        ("is:deleted", "4"),
        ("is:banned", "7"),
        ("is:png", "3"),
        ("is:child", "59"),
        ("status:deleted", "4"),
        ("status:banned", "7"),
        ("status:any", ALL),
        ("status:all", ALL),
        ("-status:deleted", "12356789"),
        ("filetype:png", "3"),
        ("filetype:PNG,gif", "35"),
        ("-filetype:jpg", "345"),
        ("md5:00000000000000000000000000000003", "3"),
        ("md5:00000000000000000000000000000003,00000000000000000000000000000001", "13"),
        ("-md5:00000000000000000000000000000003 score:>5", "12"),
        ("pixelhash:000000000000000000000000000000A3", "3"),
        ("parent:any", "59"),
        ("parent:none", "1234678"),
        ("parent:3", "35"),
        ("parent:99", "9"),
        ("-parent:3", "1246789"),
        ("has:parent", "59"),
        ("has:source", "679"),
        ("source:none", "123458"),
        ('source:""', "123458"),
        ('source:"none"', "7"),
        ("source:https://twitter.com/", "6"),
        ("source:HTTPS://", "6"),
        ("source:*twitter*", "6"),
        ("source:*status", "6"),
        ("source:twitter", ""),
        ('source:"comiket 97"', "9"),
        ("source:'Comiket 97'", "9"),
        ("(hat or source:none) -score:0", "1235 4".replace(" ", "")),
    ],
)
def test_words(found: Found, text: str, ids: str) -> None:
    assert found(text) == "".join(sorted(ids))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("order:id", ALL),
        ("order:id_asc", ALL),
        ("order:id_desc", ALL[::-1]),
        ("order:score", "123598764"),
        ("order:score_desc", "123598764"),
        ("order:score_asc", "467895321"),
        ("ORDER:Score", "123598764"),
        ("order:favcount", "129876543"),
        ("order:created_at", "739654218"),
        ("order:created_at_asc", "812456937"),
        ("order:change", ALL[::-1]),
        ("order:change_asc", ALL),
        ("order:mpixels", "782654319"),
        ("order:mpixels_asc", "913456287"),
        ("order:landscape", "297654318"),
        ("order:portrait", "865431792"),
        ("order:filesize", "861975432"),
        ("order:tagcount", "592187643"),
        ("order:tagcount_asc", "346781295"),
        ("order:arttags_asc", "812345679"),
        ("order:md5", "987653214"),
        ("order:md5_asc", "412356789"),
        ("order:none limit:2", "98"),
        ("limit:3", "987"),
        ("order:score limit:3", "123"),
        ("hat order:score_asc limit:1", "2"),
        ("order:favcount_asc limit:3 score:0", "678"),
        ("limit:1 hat or smile", "7"),
    ],
)
def test_orders_and_limits(found: Found, text: str, ids: str) -> None:
    assert found(text) == ids


def test_a_part_of_a_table_is_tested_as_the_whole(table: pa.Table) -> None:
    where = parse("hat or *_(series)").where
    assert matches(where, Posts(table)).nonzero()[0].tolist() == [0, 1, 4]
    assert matches(where, Posts(table.slice(1, 4))).nonzero()[0].tolist() == [0, 3]
    assert matches(where, Posts(table.slice(0, 0))).tolist() == []
    halves = pa.concat_tables([table.slice(0, 4), table.slice(4)])
    assert matches(where, Posts(halves)).nonzero()[0].tolist() == [0, 1, 4]
