import pytest
from tests.annotation.waiting import candidate

from pixloop.annotation.items import Reason
from pixloop.annotation.queue import ReviewQueue
from pixloop.annotation.queue_pages import count_reasons, read_page


@pytest.fixture
def queue(tmp_path):
    made = ReviewQueue(tmp_path / "review")
    made.offer(candidate(n, weight=(n * 7 % 10) / 10) for n in range(9))
    made.offer([candidate(3, kind="drifted", weight=0.95), candidate(9, "reported", 1.0)])
    return made


def page(queue, status="waiting", kind=None, most=100, skip=0):
    return queue.read(lambda db: read_page(db, status, kind, most, skip), [])


def test_what_waits_comes_as_the_whole_queue_gives_it(queue):
    whole = list(queue.items("waiting"))
    assert page(queue) == whole
    assert [
        *page(queue, most=4),
        *page(queue, most=4, skip=4),
        *page(queue, most=4, skip=8),
    ] == whole
    assert page(queue, skip=10) == []


def test_a_reason_chooses_and_its_own_weight_sorts(queue):
    queue.offer([candidate(5, kind="drifted", weight=0.2)])
    assert [i.sha256 for i in page(queue, kind="drifted")] == [
        candidate(3).sha256,
        candidate(5).sha256,
    ]


def test_what_is_asked_keeps_its_order_and_what_is_done_comes_last_first(queue):
    asked = [item.sha256 for item in queue.choose(4, 0.0)]
    assert [i.sha256 for i in page(queue, "asked")] == asked
    for sha256 in asked:
        queue.mark(sha256, "answered")
    assert [i.sha256 for i in page(queue, "answered")] == asked[::-1]
    reported = page(queue, "answered", "reported")
    assert [i.sha256 for i in reported] == [candidate(9).sha256]


def test_reasons_are_counted_by_status(queue):
    assert queue.read(lambda db: count_reasons(db, "waiting"), {}) == {
        "unsure": 9,
        "drifted": 1,
        "reported": 1,
    }
    assert queue.read(lambda db: count_reasons(db, "answered"), {}) == {}


def test_before_anything_was_offered_there_is_nothing(tmp_path):
    assert page(ReviewQueue(tmp_path / "none")) == []


def test_items_are_whole(queue):
    first = page(queue, most=1)[0]
    assert first == queue.get(first.sha256)
    assert first.reasons == (Reason("reported", "reported 9", 1.0),)
