"""A picture a model: throughput and latency of every server at every number of connections."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator
from measure import CONNECTIONS, CROWD
from servers import SERVERS, Server
from subjects import MODELS, SIZE_NAMES
from summary import Summary

_COUNTS = (*CONNECTIONS, CROWD)
#: Colour-blind-safe (Okabe and Ito); tuned ones dashed.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
            "#0072B2", "#56B4E9", "#999999")  # fmt: skip


def draw(summary: Summary, folder: Path) -> None:
    """Write MODEL.png for every model that was measured."""
    for model in MODELS:
        if summary.servers(model):
            _draw_model(summary, model, folder / f"{model}.png")


def _draw_model(summary: Summary, model: str, file: Path) -> None:
    figure, axes = plt.subplots(2, len(SIZE_NAMES), figsize=(11, 7.5), sharex=True, sharey="row")
    for column, size in enumerate(SIZE_NAMES):
        top, bottom = axes[0][column], axes[1][column]
        for server, colour in zip(SERVERS, _COLOURS, strict=True):
            if summary.of(model, server.name):
                _draw_server(summary, model, size, server, colour, top, bottom)
        limit = summary.limit(model, size)
        if limit:
            top.axhline(limit, color="black", linewidth=1, linestyle=":")
            top.annotate(
                "in-process limit", (_COUNTS[0], limit), xytext=(2, 3),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        top.set_title(f"{size} JPEG", fontsize=10)
        bottom.set_xlabel("connections")
        for each in (top, bottom):
            each.set_xscale("log")
            each.set_yscale("log")
            each.set_xticks(_COUNTS, [str(count) for count in _COUNTS])
            each.minorticks_off()
            each.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            each.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            each.grid(alpha=0.25)
            each.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("answered requests a second")
    axes[1][0].set_ylabel("latency, ms: p50, and up to p99")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"Serving {model} on {summary.content['hardware']['cores']} cores")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _draw_server(
    summary: Summary, model: str, size: str, server: Server, colour: str, top: Axes, bottom: Axes
) -> None:
    def values(key: str) -> list[float]:
        found = (summary.load(model, server.name, size, count, key) for count in _COUNTS)
        return [float("nan") if value is None else value for value in found]

    own = server.kind == "pixloop"
    style = {
        "color": colour,
        "linestyle": "--" if server.kind == "tuned" else "-",
        "linewidth": 2.5 if own else 1.3,
        "zorder": 3 if own else 2,
    }
    top.plot(_COUNTS, values("rate"), marker="o", markersize=4, label=server.about, **style)
    # Side by side, so that nine bars at a count can be told apart.
    beside = 1.035 ** (SERVERS.index(server) - len(SERVERS) / 2)
    p50, p99 = values("p50_ms"), values("p99_ms")
    longer = [high - low for low, high in zip(p50, p99, strict=True)]
    counts = [count * beside for count in _COUNTS]
    bottom.errorbar(counts, p50, yerr=[[0] * len(p50), longer], capsize=2, **style)
