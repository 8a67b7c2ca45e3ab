"""A model card's front matter, as Hugging Face's hub reads it.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from collections.abc import Mapping
from typing import Any

from pixloop.bundle import Manifest
from pixloop.config_evaluation import CardConfig

#: Licences that the hub knows, by their identifiers there; any other is "other" with its name.
LICENSES = frozenset(
    """
    apache-2.0 mit openrail bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear cc cc0-1.0
    cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0 epl-2.0 eupl-1.1 eupl-1.2 mpl-2.0
    ms-pl isc zlib artistic-2.0 bsl-1.0 unlicense wtfpl ecl-2.0 afl-3.0 osl-3.0 postgresql
    ncsa ofl-1.1
    """.split()  # noqa: SIM905  (fifty quotes would be harder to read)
)
_PIPELINES = {"classification": "image-classification", "detection": "object-detection"}
#: Metrics of evaluation.json and what the hub calls them.
_METRICS = {
    "classification": {
        "accuracy": ("accuracy", "Accuracy"),
        "f1_macro": ("f1", "Macro F1"),
        "precision_macro": ("precision", "Macro precision"),
        "recall_macro": ("recall", "Macro recall"),
    },
    "detection": {
        "map": ("mean_average_precision", "Mean AP (IoU 0.50 to 0.95)"),
        "map_50": ("mean_average_precision", "Mean AP50"),
    },
}


def metadata(summary: Mapping[str, Any], manifest: Manifest, card: CardConfig) -> dict[str, Any]:
    """The front matter as YAML's values."""
    pipeline = _PIPELINES[manifest.task]
    found: dict[str, Any] = {}
    if card.license:
        known = card.license.strip().lower()
        found = {"license": known if known in LICENSES else "other"}
        if known not in LICENSES:
            found["license_name"] = card.license.strip()
    return {
        **found,
        "library_name": "pixloop",
        "pipeline_tag": pipeline,
        "tags": ["pixloop", pipeline, *sorted({graph.format for graph in manifest.graphs})],
        "model-index": [
            {
                "name": manifest.name,
                "results": [_result(summary, manifest, pipeline)],
            }
        ],
    }


def _result(summary: Mapping[str, Any], manifest: Manifest, pipeline: str) -> dict[str, Any]:
    return {
        "task": {"type": pipeline},
        "dataset": {"type": manifest.name, "name": f"{manifest.name}, held out", "split": "test"},
        "metrics": [
            {"type": type_, "name": name, "value": summary["metrics"][key]}
            for key, (type_, name) in _METRICS[manifest.task].items()
            if summary["metrics"][key] is not None
        ],
    }
