"""A model that changes while it serves: who takes over, who is refused, and who goes again."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.certified_bundles import colours, spoil, write_classifier
from tests.small_bundles import write_colours

from pixloop.bundle import Bundle, write_bundle
from pixloop.errors import BundleError, ServingError
from pixloop.serving.batching import Batcher
from pixloop.serving.codec import Place, Request
from pixloop.serving.jobs import Job, Version
from pixloop.serving.models.acceptance import Unfit
from pixloop.serving.models.following import Follower
from pixloop.serving.models.served import Served, Superseded, SwapRefused, Trial
from pixloop.serving.predictor import Predictor, open_predictor


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def serve(
    classifier_bundle: Bundle, told: list[tuple[str, str]]
) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def serve(open_model: Callable[[Bundle], Predictor] = open_predictor, **trial: Any) -> Served:
        first = Version("v1", open_predictor(classifier_bundle))
        tell = lambda version, outcome: told.append((version, outcome))  # noqa: E731
        made.append(Served(first, open_model, tell, Trial(**trial)))
        return made[-1]

    yield serve
    for each in made:
        each.close()


def failing(bundle: Bundle, after: int = 10**9) -> Predictor:
    """A predictor whose engine answers so many calls, then only blank pictures, then nothing."""
    predictor = open_predictor(bundle)
    engine, calls = predictor._engine, iter(range(10**9))

    def fails(pixels: Any) -> Any:
        if next(calls) >= after:
            raise RuntimeError("the engine is broken")
        return engine(pixels)

    predictor._engine = fails
    return predictor


#: What acceptance asks an engine: to warm up and of each picture, both ways.
_ASKED = 2 + 2 * len(colours())


class Ask:
    """Requests through a batcher, as the server has them answered."""

    def __init__(self, slot: Served, workers: int = 1, max_batch: int = 4) -> None:
        self._slot, self._batcher = slot, Batcher(workers, max_batch, 1000)

    def __call__(self, *pictures: bytes) -> Job:
        return self.each([pictures])[0]

    def each(self, requests: list[tuple[bytes, ...]]) -> list[Job]:
        async def ask() -> list[Job]:
            loop = asyncio.get_running_loop()
            jobs = []
            for pictures in requests:
                request = Request(pictures, (Place(),) * len(pictures))
                deadline = time.perf_counter() + 60
                jobs.append(Job(self._slot, request, deadline, loop, loop.create_future()))
                self._batcher.submit(jobs[-1])
            await asyncio.gather(*(job.future for job in jobs))
            return jobs

        return asyncio.run(ask())

    def close(self) -> None:
        self._batcher.close()


@pytest.fixture
def ask() -> Iterator[Callable[..., Ask]]:
    made: list[Ask] = []

    def make(slot: Served, **options: int) -> Ask:
        made.append(Ask(slot, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


# ---- Taking over


@pytest.mark.parametrize("kind", ["classifier", "boxes"])
def test_a_new_version_takes_over(
    kind: str, request: pytest.FixtureRequest, ask: Callable[..., Ask]
) -> None:
    bundle: Bundle = request.getfixturevalue(f"{kind}_bundle")
    told: list[tuple[str, str]] = []
    tell = lambda version, outcome: told.append((version, outcome))  # noqa: E731
    served = Served(Version("v1", open_predictor(bundle)), on_swap=tell)
    asks = ask(served)
    assert b'"model": "v1"' in asks(colours()[0]).body
    served.swap(bundle.path, "v2")
    assert b'"model": "v2"' in asks(colours()[0]).body
    assert told == [("v2", "taken")]
    served.close()


def test_a_new_class_may_come(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve()
    manifest = served.current.predictor.manifest
    knows_less = manifest.model_copy(update={"classes": manifest.classes[:2]})
    served.current.predictor.manifest = knows_less
    write_classifier(tmp_path / "more")
    served.swap(tmp_path / "more", "v2")
    assert served.current.name == "v2"


# ---- Being refused


def test_what_may_not_take_over_leaves_the_old(
    serve: Callable[..., Served], boxes_bundle: Bundle, tmp_path: Path, told: list[tuple[str, str]]
) -> None:
    served = serve()
    first = served.current
    other = write_classifier(tmp_path / "other", classes=("red", "green", "violet"))
    spoiled = spoil(write_classifier(tmp_path / "spoiled"))
    damaged = write_classifier(tmp_path / "damaged")
    (damaged.path / "graphs/model.onnx").write_bytes(b"no graph")
    bare = write_colours(tmp_path / "bare")
    for bundle, cause, reason in [
        (boxes_bundle.path, Unfit, "its task is detection, what serves is for classification"),
        (other.path, Unfit, "it does not know 'blue'"),
        (spoiled.path, BundleError, "does not answer here as it was certified: picture 4"),
        (damaged.path, BundleError, "is not the file that was exported"),
        (bare.path, BundleError, "no bundle with a certificate"),
        (tmp_path / "nowhere", BundleError, "nowhere is no model bundle"),
    ]:
        with pytest.raises(SwapRefused, match=reason) as refused:
            served.swap(bundle, "v2")
        assert isinstance(refused.value.__cause__, cause)
        assert served.current is first
        assert not served.on_trial
        assert served.last is not None
        assert served.last.outcome == "refused"
        assert reason in served.last.reason
    assert set(told) == {("v2", "refused")}


def test_an_engine_that_breaks_while_it_is_tried_is_refused(
    serve: Callable[..., Served], classifier_bundle: Bundle
) -> None:
    served = serve(lambda bundle: failing(bundle, after=_ASKED - 1))
    with pytest.raises(SwapRefused, match="the engine is broken"):
        served.swap(classifier_bundle.path, "v2")
    assert served.current.name == "v1"


def test_of_two_at_once_the_later_stays(
    serve: Callable[..., Served], classifier_bundle: Bundle, told: list[tuple[str, str]]
) -> None:
    loading, go_on = threading.Semaphore(0), threading.Event()

    def slowly(bundle: Bundle) -> Predictor:
        loading.release()
        go_on.wait()
        return open_predictor(bundle)

    served = serve(slowly)
    refused: list[str] = []

    def swap(version: str) -> None:
        try:
            served.swap(classifier_bundle.path, version)
        except Superseded:
            refused.append(version)

    threads = [threading.Thread(target=swap, args=[version]) for version in ("v2", "v3", "v4")]
    threads[0].start()
    loading.acquire()  # v2 loads, and the others wait
    for offers, thread in enumerate(threads[1:], start=2):
        thread.start()
        while served._offers < offers:
            time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join()
    assert served.current.name == "v4"
    assert sorted(refused) == ["v2", "v3"]
    assert sorted(told) == [("v2", "superseded"), ("v3", "superseded"), ("v4", "taken")]


# ---- Going again


def test_a_version_that_errs_goes_again_and_no_request_fails(
    serve: Callable[..., Served],
    classifier_bundle: Bundle,
    ask: Callable[..., Ask],
    told: list[tuple[str, str]],
) -> None:
    served = serve(lambda bundle: failing(bundle, after=_ASKED + 1))
    asks = ask(served, workers=2)
    served.swap(classifier_bundle.path, "v2")
    bodies = [asks(picture).body for picture in colours()]
    assert b'"v2"' in bodies[0]
    assert all(b'"v1"' in body for body in bodies[1:])
    assert told == [("v2", "taken"), ("v2", "rolled back")]
    assert served.last is not None
    assert served.last.reason == "the engine is broken"


def test_pictures_that_no_version_can_answer_convict_none(
    serve: Callable[..., Served], classifier_bundle: Bundle, ask: Callable[..., Ask]
) -> None:
    served = serve(lambda bundle: failing(bundle, after=_ASKED))
    served.swap(classifier_bundle.path, "v2")
    served.stand_in(served.current).predictor._engine = failing(classifier_bundle, 0)._engine
    assert isinstance(ask(served)(colours()[0]).error, RuntimeError)
    assert served.current.name == "v2"


def test_a_picture_that_cannot_be_read_convicts_none(
    serve: Callable[..., Served], classifier_bundle: Bundle, ask: Callable[..., Ask]
) -> None:
    served = serve()
    served.swap(classifier_bundle.path, "v2")
    assert isinstance(ask(served)(b"nonsense").error, ServingError)
    assert served.current.name == "v2"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_of_many_batches_is_answered_by_one_version(
    serve: Callable[..., Served], classifier_bundle: Bundle, ask: Callable[..., Ask], workers: int
) -> None:
    served = serve(lambda bundle: failing(bundle, after=_ASKED + 3))
    served.swap(classifier_bundle.path, "v2")
    (right,) = open_predictor(classifier_bundle).predict([colours()[0]])
    jobs = ask(served, workers=workers, max_batch=2).each([(colours()[0],) * 40] * 3)
    for job in jobs:
        assert job.error is None
        assert b'"model": "v1"' in job.body
        assert [each.label for each in job.answers] == [right.label] * 40
    assert served.current.name == "v1"


def test_one_that_is_not_proven_is_not_what_to_go_back_to(
    serve: Callable[..., Served], classifier_bundle: Bundle, ask: Callable[..., Ask]
) -> None:
    served = serve(lambda bundle: failing(bundle, after=_ASKED))
    for version in ("v2", "v3"):
        served.swap(classifier_bundle.path, version)
    assert b'"v1"' in ask(served)(colours()[0]).body


# ---- Being released


@pytest.mark.parametrize("graph", ["onnx", "openvino"])
def test_the_old_one_is_freed_once_the_new_one_is_proven(
    graph: str, tmp_path: Path, ask: Callable[..., Ask]
) -> None:
    bundle = with_openvino(write_classifier(tmp_path / "both"), graph)
    served = Served(Version("v1", open_predictor(bundle)), trial=Trial(pictures=3))
    asks = ask(served, workers=2)
    asks.each([(colours()[0],)] * 8)  # every worker has it in its hands
    engine = served.current.predictor._engine
    old = [weakref.ref(served.current.predictor), weakref.ref(engine)]
    if graph == "openvino":
        old += [weakref.ref(engine._alone), weakref.ref(engine.streams)]
    del engine
    served.swap(bundle.path, "v2")
    asks(*colours()[:2])
    assert served.on_trial
    gc.collect()
    assert all(each() is not None for each in old)
    asks(colours()[0])
    assert not served.on_trial
    gc.collect()
    assert [each() for each in old] == [None] * len(old)


def test_time_proves_a_version_that_answers(
    serve: Callable[..., Served], classifier_bundle: Bundle, ask: Callable[..., Ask]
) -> None:
    served = serve(seconds=0.02)
    served.swap(classifier_bundle.path, "v2")
    time.sleep(0.1)
    assert served.on_trial  # nobody has asked it
    ask(served)(colours()[0])
    while served.on_trial:
        time.sleep(0.01)
    served.swap(classifier_bundle.path, "v3")
    assert served.on_trial


def with_openvino(bundle: Bundle, chosen: str) -> Bundle:
    """The bundle with an OpenVINO graph as well."""
    from pixloop.bundle import Graph
    from pixloop.openvino_runtime import import_openvino

    openvino = import_openvino()
    model = openvino.Core().read_model(str(bundle.path / "graphs/model.onnx"))
    openvino.save_model(model, str(bundle.path / "graphs/model.xml"), compress_to_fp16=False)
    graphs = (*bundle.manifest.graphs, Graph(format="openvino", file="graphs/model.xml"))
    changes = {"graphs": graphs, "chosen_graph": chosen}
    return write_bundle(bundle.path, bundle.manifest.model_copy(update=changes))


# ---- Following


def test_what_was_refused_is_not_offered_again_and_a_silent_registry_changes_nothing(
    serve: Callable[..., Served], classifier_bundle: Bundle, told: list[tuple[str, str]]
) -> None:
    good, bad = classifier_bundle.path, classifier_bundle.path / "nowhere"
    offers: list[Any] = [None, ("v2", bad), ("v2", bad), OSError("no network"), ("v2", bad)]
    offers += [OSError("no network"), ("v3", good), ("v3", good), ("v1", good)]
    over = threading.Event()

    def find() -> tuple[str, Path] | None:
        if not offers:
            over.set()
            return None
        offer = offers.pop(0)
        if isinstance(offer, Exception):
            raise offer
        found: tuple[str, Path] | None = offer
        return found

    with Follower(serve(), find, every_s=0.001):
        over.wait()
    assert told == [("v2", "refused"), ("v3", "taken"), ("v1", "taken")]
