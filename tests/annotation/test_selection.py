import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.annotation.waiting import answer, candidate

from pixloop.annotation.items import Item
from pixloop.annotation.selection import embed_items, select, select_diverse


def item(number, **changes) -> Item:
    c = candidate(number, **changes)
    return Item(c.sha256, c.reasons, c.answer, c.model, c.at, c.embedding, c.origin)


def test_one_doubt_does_not_crowd_out_the_others():
    # 60 very doubtful pictures of one thing, and ten less doubtful ones of five other things.
    g = np.random.default_rng(0)
    centres = np.array([[0, 0], *([10, 5 * i] for i in range(5))], float)
    of = np.repeat(np.arange(6), [20, 2, 2, 2, 2, 2])
    places = (centres[of] + g.normal(scale=1.0, size=(30, 2))).astype(np.float32)
    weights = np.where(of == 0, 0.9, 0.6).astype(np.float32)
    chosen = select_diverse(weights, places, 10)
    assert set(of[chosen]) == set(range(6))
    assert set(of[np.argsort(-weights, kind="stable")[:10]]) == {0}


def test_near_duplicates_are_asked_once_and_not_beside_what_was_asked():
    g = np.random.default_rng(1)
    places = np.repeat(g.normal(size=(10, 4)), 5, axis=0) + g.normal(scale=1e-3, size=(50, 4))
    weights = np.linspace(0.5, 1.0, 50, dtype=np.float32)
    chosen = select_diverse(weights, places.astype(np.float32), 20)
    assert sorted(i // 5 for i in chosen) == list(range(10))
    held = places[:25:5].astype(np.float32)
    rest = select_diverse(weights, places.astype(np.float32), 20, held)
    assert sorted(i // 5 for i in rest) == list(range(5, 10))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 15), st.integers(0, 12), st.integers(1, 14), st.floats(0, 1), st.integers(0, 9)
)
def test_the_budget_is_kept_and_filled_and_nothing_comes_twice(tickets, others, budget, share, s):
    items = [item(n, ticket=n / 20) for n in range(tickets)]
    items += [item(100 + n) for n in range(others)]
    chosen = select(items, budget, share, s)
    names = [each.sha256 for each, _ in chosen]
    assert len(set(names)) == len(names) == min(budget, tickets + others)
    if share == 0:
        assert {drawn for _, drawn in chosen} <= {"chosen"}
    else:
        drawn = {each.sha256 for each, how in chosen if how == "random"}
        first = [each.sha256 for each in items[:tickets][::-1]][: len(drawn)]
        # Nobody jumps the queue of the draw, however much there is to learn of the picture.
        assert drawn == set(first)
        assert all(each.ticket is None for each, how in chosen if how == "chosen")


def test_the_draw_is_not_thinned_by_likeness():
    same = [item(n, ticket=0.5, embedding=(1.0, 1.0)) for n in range(6)]
    assert len(select(same, 6, 1.0)) == 6


def test_the_seed_decides_what_chance_decides():
    items = [item(n, weight=0.5) for n in range(60)]
    first, again = select(items, 10, 0.0, 3), select(items, 10, 0.0, 3)
    assert [i.sha256 for i, _ in first] == [i.sha256 for i, _ in again]


def test_what_two_versions_see_is_not_compared():
    items = [item(n, model=f"pets:{n % 2}") for n in range(20)]
    places = embed_items(items)
    assert places.shape == (20, 8)
    assert not (places[::2] @ places[1::2].T).any()
    assert np.square(places).sum(axis=1).mean() == pytest.approx(1.0, abs=1e-5)


def test_without_embeddings_answers_tell_pictures_apart():
    items = [item(n, embedding=(), answer=answer("cat" if n < 25 else "dog")) for n in range(30)]
    chosen = [each for each, _ in select(items, 10, 0.0)]
    assert len(chosen) == 10
    assert {each.answer["label"] for each in chosen} == {"cat", "dog"}


def test_what_could_not_be_seen_does_no_harm():
    items = [item(n, embedding=(float("nan"),) * 4 if n % 2 else None) for n in range(10)]
    assert np.isfinite(embed_items(items)).all()
    assert select(items, 5, 0.0)
