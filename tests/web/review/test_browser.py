import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.annotation.waiting import answer, candidate
from tests.web.review.queued import ask, pretend_model

from pixloop.annotation.answering import Answering
from pixloop.web.jobs import Job
from pixloop.web.site import Site

pytestmark = pytest.mark.integration

MANY = tuple(f"class {n:02}" for n in range(40))


@pytest.fixture
def site(new_site: Site) -> Site:
    """Nothing was trained: a model is pretended."""
    return new_site


def labels(site):
    return {a.sha256: a.label for a in site.project.annotations.read() if not a.deleted}


def open_labelling(tab: Page, path: str = "/review/label") -> None:
    tab.goto(path)
    expect(tab.locator("#work, #end").locator("visible=true").first).to_be_visible()


def serious(tab: Page) -> list[str]:
    found = Axe().run(tab).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_pictures_are_labelled_by_keyboard_and_taken_back(tab, site, monkeypatch):
    pretend_model(monkeypatch)
    names = ask(site, 4)
    tab.goto("/review")
    expect(tab.locator("#now")).to_have_text("4 pictures are asked")
    assert serious(tab) == []
    tab.keyboard.press("a")
    expect(tab.locator("#progress")).to_have_text("0 of 4 in this sitting, 0 of 4 in all")
    assert serious(tab) == []
    tab.keyboard.press("2")  # the second most probable
    expect(tab.locator("#progress")).to_have_text("1 of 4 in this sitting, 1 of 4 in all")
    tab.keyboard.press("s")
    expect(tab.locator("#progress")).to_have_text("2 of 4 in this sitting, 2 of 4 in all")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("1")
    expect(tab.locator("#progress")).to_have_text("3 of 4 in this sitting, 3 of 4 in all")
    assert labels(site) == {names[0]: "dog", names[1]: None, names[3]: "cat"}
    tab.reload()
    for left in (2, 1, 0):
        expect(tab.locator("#undo")).to_be_enabled()
        tab.keyboard.press("u")
        expect(tab.locator("#progress")).to_contain_text(f"{left} of 4 in this sitting")
    assert labels(site) == {}
    expect(tab.locator("#undo")).to_be_disabled()


def test_it_ends_well_and_asks_the_next(tab, site, monkeypatch):
    pretend_model(monkeypatch)
    ask(site, 1, waiting=3)
    open_labelling(tab)
    tab.keyboard.press("1")
    expect(tab.locator("#end-title")).to_have_text("Nothing is asked")
    expect(tab.locator("#end-text")).to_contain_text("3 wait")
    assert serious(tab) == []
    tab.get_by_role("button", name="Ask the next 3").click()
    expect(tab.locator("#progress")).to_have_text("1 of 4 in this sitting, 1 of 4 in all")
    expect(tab.locator("#picture")).to_be_visible()


def test_classes_beyond_the_ninth_have_keys_and_are_found_by_name(tab, site, monkeypatch):
    pretend_model(monkeypatch, classes=MANY)
    shares = {name: 1 / (2 + n) for n, name in enumerate(MANY)}
    names = ask(site, 3, answer=answer(MANY[0], **shares))
    open_labelling(tab)
    for key, done in (("0", 1), ("b", 2)):
        expect(tab.locator("#progress")).to_contain_text(f"{done - 1} of 3 in this sitting")
        tab.keyboard.press(key)
        expect(tab.locator("#progress")).to_contain_text(f"{done} of 3 in this sitting")
    tab.keyboard.press("/")
    tab.keyboard.type("ss 38")
    expect(tab.locator("#classes button")).to_have_count(1)
    tab.keyboard.press("Enter")
    expect(tab.locator("#end-title")).to_be_visible()
    assert [labels(site)[name] for name in names] == [MANY[9], MANY[11], MANY[38]]


def test_enter_confirms_what_was_said_of_a_picture(tab, site, monkeypatch):
    pretend_model(monkeypatch)
    said = candidate(1, kind="reported", origin={"said": "fox"})
    site.project.review.offer([said])
    open_labelling(tab, f"/review?picture={said.sha256}")
    expect(tab.locator("#classes button.marked .label")).to_have_text("fox")
    tab.keyboard.press("Enter")
    expect(tab.locator("#end-title")).to_be_visible()
    assert labels(site) == {said.sha256: "fox"}


def test_enter_alone_answers_nothing_where_nobody_said_anything(tab, site, monkeypatch):
    pretend_model(monkeypatch)
    ask(site, 1)
    open_labelling(tab)
    expect(tab.locator("#classes button")).to_have_count(3)
    tab.keyboard.press("Enter")
    tab.keyboard.press("x")
    expect(tab.locator("#work")).to_be_visible()
    assert labels(site) == {}


def test_what_is_answered_elsewhere_is_not_asked_twice(tab, site, monkeypatch):
    model = pretend_model(monkeypatch)
    names = ask(site, 3)
    open_labelling(tab)
    expect(tab.locator("#progress")).to_contain_text("0 of 3")
    project = site.project
    other = Answering(project.review, project.annotations, model.task, model.classes, "anna")
    other.label(names[1], "fox")
    expect(tab.locator("#progress")).to_have_text("0 of 2 in this sitting, 1 of 3 in all")
    tab.keyboard.press("1")
    expect(tab.locator("#progress")).to_have_text("1 of 2 in this sitting, 2 of 3 in all")
    other.label(names[2], "fox")  # the one that is shown
    expect(tab.locator("#notice")).to_contain_text("anna answered: fox")
    tab.keyboard.press("u")
    expect(tab.locator("#progress")).to_have_text("0 of 1 in this sitting, 2 of 3 in all")


def test_what_is_answered_while_the_page_is_loaded_is_not_asked(tab, site, monkeypatch):
    model = pretend_model(monkeypatch)
    names = ask(site, 3)
    project = site.project

    def answer_first(route):
        expect(tab.locator("#progress")).to_contain_text("0 of 3")
        other = Answering(project.review, project.annotations, model.task, model.classes, "anna")
        other.label(names[1], "fox")
        route.continue_()

    tab.route("**/events?*", answer_first)
    open_labelling(tab)
    expect(tab.locator("#progress")).to_have_text("0 of 2 in this sitting, 1 of 3 in all")


def test_what_was_asked_before_an_answer_and_comes_after_it_does_not_stay(tab, site, monkeypatch):
    model = pretend_model(monkeypatch)
    names = ask(site, 3)
    project = site.project

    def be_late(route):
        before = route.fetch()
        other = Answering(project.review, project.annotations, model.task, model.classes, "anna")
        other.label(names[1], "fox")
        time.sleep(2.5)  # longer than until it is told
        route.fulfill(response=before)

    tab.route("**/review/asked?*", be_late, times=1)
    open_labelling(tab)
    expect(tab.locator("#progress")).to_have_text("0 of 2 in this sitting, 1 of 3 in all")


def test_a_conflict_is_said_and_both_answers_can_stand(tab, site, monkeypatch):
    model = pretend_model(monkeypatch)
    (sha256,) = ask(site, 1)
    tab.route("**/events?*", lambda route: route.abort())  # nothing is heard meanwhile
    open_labelling(tab)
    expect(tab.locator("#classes button")).to_have_count(3)
    project = site.project
    Answering(project.review, project.annotations, model.task, model.classes, "anna").label(
        sha256, "fox"
    )
    tab.keyboard.press("1")
    expect(tab.locator("#notice")).to_contain_text("anna answered: fox. Yours was not kept yet.")
    tab.get_by_role("button", name="Keep mine too: cat").click()
    expect(tab.locator("#end-title")).to_be_visible()
    assert sorted(a.label for a in project.annotations.read()) == ["cat", "fox"]


def test_boxes_are_drawn_moved_renamed_and_removed(tab, site, monkeypatch):
    pretend_model(monkeypatch, "detection")
    found = [{"label": "cat", "xyxy": [1.0, 1.0, 4.0, 4.0], "score": 0.4, "decision": "refer"}]
    ask(site, 1, answer={"boxes": found, "width": 16, "height": 12})
    open_labelling(tab)
    boxes = tab.locator("#box-list button")
    expect(boxes).to_have_text(["cat 40\u00a0%"])
    assert serious(tab) == []
    frame = tab.locator("#boxes").bounding_box()

    def at(x, y):
        return frame["x"] + x / 16 * frame["width"], frame["y"] + y / 12 * frame["height"]

    def drag(start, end):
        tab.mouse.move(*at(*start))
        tab.mouse.down()
        tab.mouse.move(*at(*end), steps=4)
        tab.mouse.up()

    drag((6, 6), (10, 10))
    expect(boxes).to_have_text(["cat 40\u00a0%", "cat"])
    tab.keyboard.press("2")
    expect(boxes).to_have_text(["cat 40\u00a0%", "dog"])
    drag((8, 8), (10, 9))  # the picked one moves
    drag((12, 11), (15, 12))  # its corner
    tab.mouse.click(*at(2, 2))
    tab.keyboard.press("Delete")
    expect(boxes).to_have_text(["dog"])
    tab.keyboard.press("n")
    tab.keyboard.press("3")
    tab.keyboard.press("Enter")
    expect(tab.locator("#end-title")).to_be_visible()
    kept = site.project.annotations.read()[0].boxes
    assert [box.label for box in kept] == ["dog", "fox"]
    assert kept[0].xyxy == pytest.approx((8, 7, 15, 12), abs=0.15)


def test_looking_for_more_shows_how_far_it_is(tab, site, monkeypatch):
    pretend_model(monkeypatch)
    site.project.review.offer([candidate(1)])
    started = []

    def start(kind, command, about=""):
        started.append(command)
        folder = site.state / "web" / "jobs" / "j1"
        folder.mkdir(parents=True)
        job = Job(
            id="j1",
            kind=kind,
            command=command,
            started="2026-05-04T03:02:01+00:00",
            pid=-1,
            born=0.0,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        (folder / "log.txt").write_text("2 new, 3 wait:\n<b>2 drifted</b>\n")
        (folder / "ended.json").write_text('{"code": 0}')

    monkeypatch.setattr(site.jobs, "start", start)
    tab.goto("/review")
    tab.get_by_role("button", name="Look for more").click()
    expect(tab.locator("#review-work .review-job")).to_contain_text("<b>2 drifted</b>")
    expect(tab.locator("#review-work .pill")).to_have_text("done")
    assert started == [["review", "collect"]]
    tab.get_by_label("How many are asked next").fill("1")
    tab.get_by_role("button", name="Ask the next").click()
    expect(tab.locator("#now")).to_have_text("1 picture is asked")
    expect(tab.locator("#tab-asked")).to_have_text("Asked 1")


def test_it_works_on_a_phone_by_touch(browser, address, site, monkeypatch):
    pretend_model(monkeypatch)
    names = ask(site, 2)
    size = {"width": 360, "height": 740}
    context = browser.new_context(
        base_url=address, viewport=size, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = context.new_page()
    for path in ("/review", "/review/label"):
        page.goto(path)
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert serious(page) == []
    page.locator("#classes button").nth(1).tap()
    expect(page.locator("#progress")).to_contain_text("1 of 2 in this sitting")
    page.locator("#undo").tap()
    expect(page.locator("#progress")).to_contain_text("0 of 2 in this sitting")
    assert labels(site) == {}
    assert len(names) == 2
    context.close()


def test_a_hostile_class_is_text(tab, site, monkeypatch):
    hostile = "<img src=x onerror=alert(1)>"
    pretend_model(monkeypatch, classes=(hostile, "dog"))
    ask(site, 1, answer=answer(hostile, **{hostile: 0.6, "dog": 0.4}), model=hostile)
    open_labelling(tab)
    expect(tab.locator("#classes .label").first).to_have_text(hostile)
    tab.keyboard.press("1")
    expect(tab.locator("#end-title")).to_be_visible()
    assert list(labels(site).values()) == [hostile]
