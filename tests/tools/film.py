"""A film of a browser tab: pictures of it, captions below, a pointer where one clicked."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page

WIDTH, HEIGHT, CAPTION = 1280, 800, 72
_FONT = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
_PAPER, _INK, _MUTED = "#16191f", "#f6f6f4", "#a0a8b7"
#: Between two pictures while something is to be seen moving.
_STEP_S = 0.12


class Film:
    """Takes pictures of a tab.

    Args:
        tab: of ``WIDTH`` × ``HEIGHT`` pixels.
        folder: where frames are kept.
    """

    def __init__(self, tab: Page, folder: Path) -> None:
        self.tab, self._folder = tab, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._frames: list[tuple[Path, float]] = []
        self._caption, self._chapter = "", ""
        self._pointer: tuple[float, float] | None = None

    def say(self, caption: str, chapter: str | None = None, hold_s: float = 1.6) -> None:
        """Put a caption below the tab, and give time to read it."""
        self._caption = caption
        self._chapter = self._chapter if chapter is None else chapter
        self.hold(hold_s)

    def hold(self, seconds: float) -> None:
        """Show the tab as it is, for a while."""
        self._shoot(seconds)

    def watch(self, until: Callable[[], bool], speed: float = 1.0, most_s: float = 600) -> None:
        """Film until something holds, ``speed`` times as fast as it happens.

        Raises:
            TimeoutError: it does not within ``most_s``.
        """
        waited = 0.0
        while not until():
            if waited > most_s:
                raise TimeoutError(f"{self._caption}: not within {most_s} s")
            self._shoot(_STEP_S)
            pause = _STEP_S * speed
            self.tab.wait_for_timeout(1000 * pause)
            waited += pause
        self._shoot(_STEP_S)

    def click(self, what: Locator, hold_s: float = 0.6) -> None:
        """Go there, be seen there, click."""
        what.scroll_into_view_if_needed()
        box = what.bounding_box()
        if box is not None:
            self._go((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        what.click()
        self.tab.wait_for_timeout(250)
        self._shoot(hold_s)

    def save(self, video: Path, gif: Path, gif_width: int = 800, gif_speed: float = 1.0) -> None:
        """Write a film (H.264) and a GIF of it.

        Args:
            video: ``.mp4``.
            gif: ``.gif``.
            gif_width: pixels.
            gif_speed: how much faster than the film.
        """
        listing = self._folder / "frames.txt"
        lines = [f"file '{file.name}'\nduration {seconds:.3f}" for file, seconds in self._frames]
        listing.write_text("\n".join([*lines, f"file '{self._frames[-1][0].name}'"]) + "\n")
        source = ["-f", "concat", "-safe", "0", "-i", str(listing)]
        _ffmpeg(*source, "-vf", "fps=12,format=yuv420p", "-c:v", "libx264", "-crf", "27",
                "-preset", "slow", "-movflags", "+faststart", str(video))  # fmt: skip
        scaled = f"setpts=PTS/{gif_speed},fps=6,scale={gif_width}:-1:flags=lanczos"
        colours = "split[a][b];[a]palettegen=max_colors=96:stats_mode=diff[p];"
        drawn = "[b][p]paletteuse=dither=none:diff_mode=rectangle"
        _ffmpeg(*source, "-vf", f"{scaled},{colours}{drawn}", str(gif))

    def _go(self, to: tuple[float, float], steps: int = 5) -> None:
        x, y = self._pointer or (WIDTH / 2, HEIGHT / 2)
        for step in range(1, steps + 1):
            share = step / steps
            self._pointer = (x + (to[0] - x) * share, y + (to[1] - y) * share)
            self._shoot(0.06)

    def _shoot(self, seconds: float) -> None:
        picture = Image.open(io.BytesIO(self.tab.screenshot(type="png"))).convert("RGB")
        frame = Image.new("RGB", (WIDTH, HEIGHT + CAPTION), _PAPER)
        frame.paste(picture, (0, 0))
        draw = ImageDraw.Draw(frame)
        if self._pointer is not None:
            _draw_pointer(draw, *self._pointer)
        draw.text((28, HEIGHT + 14), self._chapter.upper(), _MUTED, ImageFont.truetype(_FONT, 13))
        draw.text((28, HEIGHT + 33), self._caption, _INK, ImageFont.truetype(_FONT, 21))
        file = self._folder / f"{len(self._frames):05}.png"
        frame.save(file)
        self._frames.append((file, seconds))


def _draw_pointer(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    shape = [(0, 0), (0, 21), (5, 16), (9, 25), (13, 23), (9, 15), (16, 15)]
    draw.polygon([(x + a, y + b) for a, b in shape], fill="#16191f", outline="#ffffff", width=2)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *arguments], check=True)
