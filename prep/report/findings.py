"""What `prep lint` finds, in brief."""

from collections.abc import Sequence

from prep.lint.finding import Finding
from prep.report.html import Html, element, missing, section

TITLE = "What is amiss"


def findings(found: Sequence[Finding] | None) -> Html:
    """Show each finding in a line; None: there are no captions to look at."""
    if found is None:
        note = missing("No captions yet: `prep caption` makes them.")
        return section("lint", TITLE, "", note)
    if not found:
        return section("lint", TITLE, "", missing("`prep lint` finds nothing amiss."))
    grave = sum(one.grave for one in found)
    lead = (
        f"{grave} to mend, {len(found) - grave} worth knowing: `prep lint` names images and rules."
    )
    rows = (
        element(
            "li",
            element("b", one.name, class_="grave" if one.grave else None),
            element("span", one.what),
        )
        for one in found
    )
    return section("lint", TITLE, lead, element("ul", rows, class_="findings"))
