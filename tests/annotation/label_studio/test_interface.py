from defusedxml import ElementTree

from pixloop.annotation.label_studio.interface import colours, labelling_interface

NAMES = ("cat", 'dog & "co" <x>', *map(str, range(12)))


def test_detection_has_a_rectangle_label_in_its_own_colour_for_each_class():
    view = ElementTree.fromstring(labelling_interface("detection", NAMES))
    labels = view.findall("RectangleLabels/Label")
    assert tuple(label.get("value") for label in labels) == NAMES
    assert len({label.get("background") for label in labels}) == len(NAMES)
    assert [label.get("hotkey") for label in labels[:10]] == [*"123456789", None]


def test_classification_has_one_choice_among_the_classes():
    view = ElementTree.fromstring(labelling_interface("classification", NAMES))
    assert tuple(each.get("value") for each in view.findall("Choices/Choice")) == NAMES
    assert view.find("Choices").get("choice") == "single"
    assert view.find("Image").get("rotateControl") == "false"


def test_a_class_keeps_its_colour_as_more_come():
    assert colours(40)[:3] == colours(3)
    assert len(set(colours(40))) == 40
