from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixloop.decoding import RgbArray
from pixloop.drawing import (
    PALETTE,
    DrawingFolder,
    class_colour,
    draw_boxes,
    draw_detection,
    draw_prediction,
)
from pixloop.errors import DataError
from pixloop.records import Decision, DetectedBox, Detection, Prediction

CLASSES = ("circle", "würfel")
PICTURE = np.full((240, 320, 3), 200, np.uint8)


def detection(*boxes: DetectedBox, width: int = 320, height: int = 240) -> Detection:
    return Detection(boxes, width, height)


def box(label: str = "circle", decision: Decision = Decision.ACCEPT) -> DetectedBox:
    return DetectedBox(label, 0.97, (60.0, 80.0, 260.0, 200.0), decision)


def rgb_of(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def has(picture: RgbArray, x: int, y: int, colour: str) -> bool:
    """Whether a pixel or one beside it has a colour: lines are wider than a pixel."""
    near = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
    return bool((near == rgb_of(colour)).all(axis=1).any())


def test_a_box_is_drawn_at_its_edges_in_the_colour_of_its_class() -> None:
    for label, colour in zip(CLASSES, PALETTE, strict=False):
        drawn = draw_detection(PICTURE, detection(box(label)), CLASSES)
        assert (drawn.shape, drawn.dtype) == (PICTURE.shape, np.uint8)
        for x, y in ((60, 140), (260, 140), (160, 200), (250, 80)):
            assert has(drawn, x, y, colour)
        np.testing.assert_array_equal(drawn[100:180, 80:240], 200)  # inside nothing is changed


def test_the_picture_itself_is_left_alone() -> None:
    kept = PICTURE.copy()
    empty = draw_detection(PICTURE, detection(), CLASSES)
    draw_detection(PICTURE, detection(box()), CLASSES)
    np.testing.assert_array_equal(PICTURE, kept)
    np.testing.assert_array_equal(empty, PICTURE)
    empty[:] = 0
    np.testing.assert_array_equal(PICTURE, kept)


def test_of_a_referred_box_only_the_corners_are_drawn() -> None:
    drawn = draw_detection(PICTURE, detection(box(decision=Decision.REFER)), CLASSES)
    for x, y in ((60, 198), (260, 82), (258, 200)):
        assert has(drawn, x, y, PALETTE[0])
    for x, y in ((60, 140), (260, 140), (160, 200)):
        assert not has(drawn, x, y, PALETTE[0])


def test_captions_say_class_score_and_doubt() -> None:
    sure = draw_detection(PICTURE, detection(box()), CLASSES)
    unsure = draw_detection(PICTURE, detection(box(decision=Decision.REFER)), CLASSES)
    # White letters on the class's colour, above the box; a question mark makes them longer.
    assert whites(sure[60:80, 60:160]) > 5
    assert whites(sure[80:, :]) == 0
    assert caption_width(unsure) > caption_width(sure) > 0


def whites(picture: RgbArray) -> int:
    """How many pixels are of letters; the picture itself is gray."""
    return int((picture > 215).all(axis=2).sum())


def caption_width(picture: RgbArray) -> int:
    """How far the ground of the caption above the box reaches."""
    ground = (picture[62:76] == rgb_of(PALETTE[0])).all(axis=2)
    return int(ground.any(axis=0).sum())


def test_letters_beyond_ascii_are_drawn() -> None:
    names = ("würfel", "w?rfel", "wurfel")
    drawings = [draw_detection(PICTURE, detection(box(name)), names[:1]) for name in names]
    assert not np.array_equal(drawings[0], drawings[1])
    assert not np.array_equal(drawings[0], drawings[2])


def test_a_caption_at_the_edge_is_whole() -> None:
    whole = np.array([[0.0, 0.0, 320.0, 240.0]])
    drawn = draw_boxes(PICTURE, whole, ["a caption"], ["#112233"])
    assert whites(drawn) > 5
    corner = draw_boxes(PICTURE, np.array([[300.0, 2.0, 320.0, 20.0]]), ["a caption"], ["#112233"])
    assert whites(corner) == whites(drawn)


def test_classes_keep_their_colours() -> None:
    names = [str(i) for i in range(25)]
    colours = [class_colour(name, names) for name in names]
    assert len(set(colours)) == len(PALETTE)
    assert colours[0] == colours[len(PALETTE)] == class_colour("unknown", names)


def test_white_letters_are_legible_on_every_colour() -> None:
    # The contrast of WCAG 2.1, which asks for 4.5.
    for colour in PALETTE:
        shares = np.array(rgb_of(colour)) / 255
        linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5


def test_a_prediction_is_a_frame_with_a_caption() -> None:
    sure = Prediction("würfel", 0.9, {"würfel": 0.9}, Decision.ACCEPT)
    drawn = draw_prediction(PICTURE, sure, CLASSES)
    assert has(drawn, 1, 120, PALETTE[1])
    assert has(drawn, 318, 120, PALETTE[1])
    unsure = Prediction("würfel", 0.4, {"würfel": 0.4}, Decision.REFER)
    assert not has(draw_prediction(PICTURE, unsure, CLASSES), 1, 120, PALETTE[1])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (10, 3000), (3000, 1)])
@pytest.mark.parametrize("decision", list(Decision))
def test_pictures_of_any_shape_are_drawn_on(size: tuple[int, int], decision: Decision) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    whole = DetectedBox("circle", 0.5, (0.0, 0.0, float(width), float(height)), decision)
    drawn = draw_detection(picture, detection(whole, width=width, height=height), CLASSES)
    assert drawn.shape == picture.shape


@given(
    edges=st.lists(st.tuples(*[st.floats(-500, 500)] * 4), max_size=6),
    corners=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_any_boxes_are_drawn(edges: list[tuple[float, ...]], corners: bool) -> None:
    xyxy = np.array(edges, np.float64).reshape(-1, 4)
    xyxy = np.concatenate([np.minimum(xyxy[:, :2], xyxy[:, 2:]), xyxy[:, 2:]], axis=1)
    names, colours = ["a"] * len(xyxy), ["#a01010"] * len(xyxy)
    drawn = draw_boxes(PICTURE, xyxy, names, colours, [corners] * len(xyxy))
    assert drawn.shape == PICTURE.shape


# ---- the folder -----------------------------------------------------------------------------


def write(path: Path, colour: str = "white") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (320, 240), colour).save(path)
    return path


def test_drawings_keep_name_and_kind(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.png", "d.bmp", "e", "f.tar.webp"]
    folder = DrawingFolder(tmp_path / "new" / "out", [])
    drawn = [folder.draw(Path(name), PICTURE, detection(box())) for name in names]
    assert [path.name for path in drawn] == [
        "a.jpg",
        "b.jpg",
        "c.png",
        "d.png",
        "e.png",
        "f.tar.png",
    ]
    for path in drawn:
        with Image.open(path) as image:
            assert image.format == ("JPEG" if path.suffix == ".jpg" else "PNG")
    assert {path.name for path in drawn[0].parent.iterdir()} == {path.name for path in drawn}


def test_the_same_name_twice_is_two_drawings(tmp_path: Path) -> None:
    sources = [tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg", tmp_path / "y" / "a.jpeg"]
    folder = DrawingFolder(tmp_path / "out", sources)
    drawn = [folder.draw(source, PICTURE, detection()) for source in sources]
    assert [path.name for path in drawn] == ["a.jpg", "a-2.jpg", "a-3.jpg"]


def test_only_drawings_are_drawn_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    stranger = write(out / "a.png")
    (out / "b.png").write_bytes(b"no picture")
    (out / "c.png").mkdir()
    before = stranger.read_bytes()
    for _ in range(2):
        folder = DrawingFolder(out, [])
        drawn = [folder.draw(Path(f"x/{n}.png"), PICTURE, detection(box())) for n in "abcd"]
        assert [path.name for path in drawn] == ["a-2.png", "b-2.png", "c-2.png", "d.png"]
    assert stranger.read_bytes() == before
    assert (out / "b.png").read_bytes() == b"no picture"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_drawing_that_is_a_source_itself_is_not_drawn_over(tmp_path: Path, suffix: str) -> None:
    first = DrawingFolder(tmp_path, []).draw(Path(f"a{suffix}"), PICTURE, detection(box()))
    before = first.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    again = DrawingFolder(tmp_path / "link", [first])
    assert again.draw(first, PICTURE, detection()).name == f"a-2{suffix}"
    assert first.read_bytes() == before
    # A later run, which does not read the drawing, replaces it.
    assert DrawingFolder(tmp_path, []).draw(Path(f"x/a{suffix}"), PICTURE, detection()) == first
    assert first.read_bytes() != before


def test_unknown_classes_get_their_colours_as_they_turn_up(tmp_path: Path) -> None:
    folder = DrawingFolder(tmp_path, [])
    first = folder.draw(Path("a.png"), PICTURE, detection(box("x")))
    second = folder.draw(Path("b.png"), PICTURE, detection(box("y")))
    third = folder.draw(Path("c.png"), PICTURE, detection(box("x")))
    for path, colour in ((first, 0), (second, 1), (third, 0)):
        with Image.open(path) as image:
            assert has(np.asarray(image), 60, 140, PALETTE[colour])


def test_where_no_folder_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="is no folder to draw into"):
            DrawingFolder(place, [])
