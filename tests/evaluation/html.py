"""Reading a report as a browser would."""

import re
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Every element with its attributes, and whether all are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_standalone(text: str) -> None:
    """Whole, without any script but its own, and in need of nothing else."""
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), value
    assert not re.search(r"@import|url\(|https?://", text)
    assert_own_script(text)
    assert not page.all("link")
    assert len(text) < 2_500_000


def assert_own_script(text: str) -> None:
    """One script, the one whose hash the content security policy names, and no other."""
    page = Page(text)
    assert page.all("script") == [{}]
    script = text.split("<script>")[1].split("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policies = [a["content"] or "" for a in page.all("meta") if "http-equiv" in a]
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"


def visible_text(text: str) -> str:
    """What a page says, without its style and script."""
    without = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)
    return unescape(re.sub(r"<[^>]+>", " ", without))


def assert_accessible(text: str) -> None:
    """Links lead somewhere, names are unique, and pictures and tables have words."""
    page = Page(text)
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    links = [a["href"] for a in page.all("a")]
    assert links
    assert {str(link)[1:] for link in links} <= set(names)
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in page.all("svg"))
    assert all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
