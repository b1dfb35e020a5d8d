"""JUnit XML that parsers take, whatever names hold."""

from pathlib import Path
from xml.etree import ElementTree

from cnnviz.photos.images import ImageSource
from cnnviz.report.junit import junit_xml
from cnnviz.runs.batch import Outcome


def test_names_that_xml_cannot_hold_are_replaced_and_others_kept() -> None:
    checks = [("nan", 'conv<1>&"', "1 NaN"), ("dead=0.5", "猫\x00\udcff", None)]
    source = ImageSource(Path("x"), "a\x1b[31m.jpg", None)
    text = junit_xml("maps <m>", checks, [Outcome(source, error="bad\x07"), Outcome(source)])
    suite = ElementTree.fromstring(text)
    assert suite.get("name") == "maps <m>"
    assert [case.get("classname") for case in suite] == ['conv<1>&"', "猫��", "photos"]
    assert suite[0][0].get("message") == 'conv<1>&": 1 NaN'
    assert suite[2].get("name") == "a�[31m.jpg"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
