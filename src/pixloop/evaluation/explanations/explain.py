"""Picture files in, drawings out that show which pixels spoke for the answers."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pixloop.bundle import MANIFEST, Bundle
from pixloop.errors import BundleError, ConfigError, DataError, ImageError
from pixloop.evaluation.explanations.drawings import draw_explanation, draw_with_caption
from pixloop.evaluation.explanations.explainer import Answer, Explainer, best_method
from pixloop.evaluation.explanations.methods import METHODS, Method
from pixloop.evaluation.explanations.sanity import Check
from pixloop.files import atomic_path, sha256_file, write_text
from pixloop.records import Decision, Detection, Xyxy
from pixloop.serving.predictor import open_predictor

_SIDE_PX = 640  #: the longest side of each half of a drawing
_MOST_BOXES = 5  #: of a picture, the surest
_LEAST_CHECKED = 3
_CHECKS: TypeAdapter[tuple[Check, ...]] = TypeAdapter(tuple[Check, ...])


class PictureExplanation(BaseModel):
    """An answer to a picture file, and the drawing that explains it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    label: str | None = None  #: the class that is explained; None where nothing was found
    score: float | None = None
    box: Xyxy | None = None  #: of a detector, in pixels of the upright picture
    method: str
    drawing: str | None = None
    error: str | None = None  #: why the picture has no explanation, where it has none


class PictureExplainer:
    """Explains a bundle's answers to picture files by a method that passed its checks."""

    def __init__(self, bundle: Bundle, cache: Path, method: str | None = None) -> None:
        """Check the methods, or read what an earlier check found.

        Args:
            bundle: the model.
            cache: the folder where what the checks found is kept.
            method: the name of one; the one that passed its checks best by default.

        Raises:
            ConfigError: there is no such method for the model's task, or it failed its checks.
            BundleError: as ``rebuild_network``, or no method passed its checks.
        """
        methods = METHODS[bundle.manifest.task]
        names = [each.name for each in methods]
        if method is not None and method not in names:
            task = bundle.manifest.task
            raise ConfigError(f"there is no method {method!r} for {task}: use {', '.join(names)}.")
        self._explainer = Explainer(bundle)
        self._predictor = open_predictor(bundle)
        self.checks = self._read_checks(bundle, cache)
        self.method = _choose(methods, self.checks, method)

    def explain(
        self, files: Iterable[Path], output: Path, label: str | None = None
    ) -> Iterator[PictureExplanation]:
        """Explain each file's answer; a detector's surest boxes one by one.

        Args:
            files: pictures. One that cannot be read gives an explanation with ``error``.
            output: the folder that drawings are written into, as PNG.
            label: the class to explain instead of the answer; of a detector, whose boxes.

        Raises:
            ConfigError: the model knows no such class.
            DataError: a drawing cannot be written.
        """
        classes, names = self._explainer.manifest.classes, set[str]()
        if label is not None and label not in classes:
            raise ConfigError(f"the model knows no class {label!r}; it knows {', '.join(classes)}.")
        for file in files:
            try:
                picture = file.read_bytes()
                answers = self._answers(picture, label)
            except (OSError, ImageError) as e:
                reason = getattr(e, "strerror", None) or str(e)
                yield PictureExplanation(path=str(file), method=self.method.name, error=reason)
                continue
            if not answers:
                yield PictureExplanation(path=str(file), method=self.method.name)
            for answer, score, caption in answers:
                target = output / _free_name(file.stem, names)
                self._draw(answer, caption, target)
                yield PictureExplanation(
                    path=str(file),
                    label=answer.label,
                    score=score,
                    box=answer.box,
                    method=self.method.name,
                    drawing=str(target),
                )

    def _answers(self, picture: bytes, label: str | None) -> list[tuple[Answer, float, str]]:
        """What is explained of a picture: the answer, its score, and both in words."""
        # ``predict`` would tell which of several pictures cannot be read; there is only this one.
        found = next(self._predictor.predict_each([picture]))
        if isinstance(found, ImageError):
            raise found
        if isinstance(found, Detection):
            boxes = [b for b in found.boxes if label in (None, b.label)][:_MOST_BOXES]
            return [
                (Answer(picture, b.label, b.xyxy), b.score, _words(b.label, b.score, b.decision))
                for b in boxes
            ]
        if label is None or label == found.label:
            words = _words(found.label, found.score, found.decision)
            return [(Answer(picture, found.label), found.score, words)]
        score = found.probabilities[label]
        words = f"{label} {score:.1%}, answered {found.label} {found.score:.1%}"
        return [(Answer(picture, label), score, words)]

    def _draw(self, answer: Answer, caption: str, target: Path) -> None:
        image, _ = draw_explanation(answer, self._explainer.explain(answer, self.method), _SIDE_PX)
        captioned = draw_with_caption(image, f"{caption} · {self.method.title}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                captioned.save(temporary, "PNG")
        except OSError as e:
            raise DataError(f"{target} cannot be written: {e}.") from e

    def _read_checks(self, bundle: Bundle, cache: Path) -> tuple[Check, ...]:
        file = cache / f"{sha256_file(bundle.path / MANIFEST)}.json"
        try:
            return _CHECKS.validate_json(file.read_bytes())
        except (OSError, ValidationError):
            held_out = self._held_out(bundle)
            if len(held_out) < _LEAST_CHECKED:
                raise BundleError(
                    f"{bundle.path} carries too few test pictures with an answer to check methods "
                    f"on: {len(held_out)}, and {_LEAST_CHECKED} are needed."
                ) from None
            checks = self._explainer.check(held_out)
            write_text(file, _CHECKS.dump_json(checks, indent=2).decode() + "\n")
            return checks

    def _held_out(self, bundle: Bundle) -> list[Answer]:
        """The surest answer to each of the test pictures that the bundle carries."""
        files = sorted((bundle.path / "certificate").glob("*"))
        each = [self._answers(file.read_bytes(), None)[:1] for file in files]
        return [answers[0][0] for answers in each if answers]


def _choose(methods: Sequence[Method], checks: Sequence[Check], wanted: str | None) -> Method:
    """The wanted method, or the best, if it passed its checks."""
    best = best_method(methods, checks)
    if best is None:
        reasons = "; ".join(f"{check.title}: {check.failures[0]}" for check in checks)
        raise BundleError(
            f"no method passed its checks for this model, so none is shown. {reasons}"
        )
    failures = next((check.failures for check in checks if check.method == wanted), ())
    if failures:
        raise ConfigError(
            f"--method {wanted} failed its checks for this model: {'; '.join(failures)}. "
            f"{best.name} passed; leave --method out."
        )
    return next((method for method in methods if method.name == wanted), best)


def _words(label: str, score: float, decision: Decision) -> str:
    doubt = ", referred to a person" if decision is Decision.REFER else ""
    return f"{label} {score:.1%}{doubt}"


def _free_name(stem: str, taken: set[str]) -> str:
    """A name that no other drawing of this run has."""
    number = 1
    while (name := f"{stem}-explained{f'-{number}' if number > 1 else ''}.png") in taken:
        number += 1
    taken.add(name)
    return name
