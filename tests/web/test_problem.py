"""What is shown where something went wrong: once, and with what mends it."""

import re

import pytest

from pixloop.config import FILE_NAME

PART = {"HX-Request": "true"}


def words(answer) -> str:
    """The text of what a page shows, without its menu."""
    main = re.search(r"<main.*</main>", answer.text, re.DOTALL)
    text = re.sub(r"<[^>]*>", " ", main[0] if main else answer.text)
    return " ".join(text.split())


@pytest.fixture
def broken(new_site, new_client):
    """Asks pages whose pixloop.yaml is wrong."""
    (new_site.folder / FILE_NAME).write_text("task: [")
    return new_client


def test_a_page_that_there_is_not_is_said_once(new_client):
    for path in ("/nowhere", "/models/1/nothing/at/all"):
        answer = new_client.get(path)
        assert answer.status_code == 404
        assert words(answer) == "There is no such page"
    assert words(new_client.get("/nowhere", headers=PART)) == "There is no such page."


def test_what_is_known_of_a_missing_thing_is_said_below_the_title(new_client):
    told = words(new_client.get("/models/9"))
    assert told.startswith("There is no such page ")
    assert len(told) > len("There is no such page ")
    assert "Not Found" not in told


def test_a_wrong_configuration_is_told_once_with_how_to_go_on(broken):
    answer = broken.get("/models/list")
    told = words(answer)
    assert answer.status_code == 422
    assert told.count("That did not work") == 1
    assert told.count(f"{FILE_NAME} is not valid YAML") == 1
    assert told.endswith("Mend it, and load this page again.")

    part = words(broken.get("/models/list", headers=PART))
    assert part.startswith("That did not work. /")
    assert part.endswith("Mend it, and load this page again.")


def test_what_is_wrong_with_something_else_is_not_mended_in_the_configuration(broken):
    assert "Mend it" not in words(broken.get("/nowhere"))
