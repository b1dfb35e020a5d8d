"""Checks as JUnit XML, which CI services show as tests."""

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from cnnviz.runs.tally import Outcome

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(
    suite: str, checks: Sequence[tuple[str, str, str | None]], outcomes: Iterable[Outcome]
) -> bytes:
    """Return a test suite with a test case per layer and rule, and one per photo that failed.

    Args:
        suite: What was checked.
        checks: (rule, layer, complaint), the complaint None where the layer keeps the rule.
        outcomes: What became of the photos.
    """
    errors = [(outcome.source.key, outcome.error) for outcome in outcomes if outcome.error]
    root = ElementTree.Element(
        "testsuite",
        name=_clean(suite),
        tests=str(len(checks) + len(errors)),
        failures=str(sum(complaint is not None for _, _, complaint in checks)),
        errors=str(len(errors)),
    )
    for rule, layer, complaint in checks:
        case = ElementTree.SubElement(
            root, "testcase", classname=_clean(layer), name=_clean(rule), time="0"
        )
        if complaint is not None:
            said = _clean(f"{layer}: {complaint}")
            ElementTree.SubElement(case, "failure", type=_clean(rule), message=said)
    for key, error in errors:
        case = ElementTree.SubElement(
            root, "testcase", classname="photos", name=_clean(key), time="0"
        )
        ElementTree.SubElement(case, "error", type="photo", message=_clean(error))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
