"""HTML from functions: no text, whatever it holds, becomes markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from prep.report.html import Html, count, element, marked, together

# what a browser reads as such: carriage returns and NUL are changed on input by any parser
TEXTS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]))


class Seen(HTMLParser):
    """Writes down what a parser sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXTS, TEXTS)
def test_text_and_attributes_come_back_as_they_were(text: str, attribute: str) -> None:
    seen = Seen()
    seen.feed(element("p", text, title=f"-{attribute}"))
    seen.close()
    assert (seen.text, seen.tags) == (text, [("p", [("title", f"-{attribute}")])])


def test_elements_nest_and_lists_are_laid_open() -> None:
    inner = [element("li", number) for number in (1, 2)]
    assert element("ol", inner, None, class_="a", data_x="1") == (
        '<ol class="a" data-x="1"><li>1</li><li>2</li></ol>'
    )


def test_void_elements_are_not_closed_and_an_empty_attribute_stands_alone() -> None:
    assert element("input", checked="", type="checkbox", title=None) == (
        '<input checked type="checkbox">'
    )


def test_html_is_taken_as_it_stands_and_text_is_not() -> None:
    assert together(Html("<b>&amp;</b>"), "<b>&") == "<b>&amp;</b>&lt;b&gt;&amp;"


def test_bytes_of_a_name_that_are_no_text_do_not_stop_the_page() -> None:
    assert element("b", "a\udcff") == "<b>a?</b>"


def test_backticks_mark_commands() -> None:
    assert marked("run `prep <x>` now") == "run <code>prep &lt;x&gt;</code> now"


def test_counts_are_said_as_people_do() -> None:
    assert [count(1, "image"), count(1200, "image"), count(0, "entry", "entries")] == [
        "1 image",
        "1,200 images",
        "0 entries",
    ]
