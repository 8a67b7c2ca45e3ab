"""What ``pixloop.yaml`` holds: typed, checked values, a default for all but ``task`` and ``data``.

``config_file`` reads and writes it. Keys are addressed with dots (``training.epochs``), in
``--set`` as in pipeline steps.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pixloop.config_aws import AwsConfig
from pixloop.config_evaluation import (
    CardConfig,
    ExplanationsConfig,
    RobustnessConfig,
    SlicesConfig,
    TrustConfig,
)
from pixloop.config_loop import (
    AnnotationConfig,
    MonitoringConfig,
    PromotionConfig,
    ReviewConfig,
    TriggersConfig,
)
from pixloop.config_section import Section
from pixloop.config_tuning import TuningConfig

FILE_NAME = "pixloop.yaml"

Share = Annotated[float, Field(ge=0.0, lt=1.0)]

#: What a browser says of where a page is from; it leaves out a scheme's usual port.
_ORIGIN = re.compile(
    r"(?:https(?!.*:443$)|http(?!.*:80$))://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])"
    r"(?::[1-9]\d{0,4})?"
)

#: torch's generator takes a number of 64 bits, made of the seed, the step and the process.
_LARGEST_SEED = 10**13


def one_source(value: Any) -> Any:
    """``data: ~/pictures`` is short for ``data: {train: ~/pictures}``."""
    return {"train": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Where the pictures are, and how they are split."""

    train: str
    """A folder, a zip or tar, a .csv, a .jsonl manifest, or an https://, s3://, hf://datasets/
    or kaggle:// address. Where it holds train and test folders, both are used. A prepared data
    set (with a dataset.json) is taken as it is; from S3 it streams."""
    test: str | None = None
    """Test pictures, where they lie elsewhere. Without any, a share of ``train`` is held out."""
    format: Literal[
        "auto", "class_folders", "csv", "manifest", "coco", "voc", "yolo", "label_studio"
    ] = "auto"
    """How labels are written. ``auto`` looks at what is there."""
    classes: tuple[str, ...] | None = None
    """The classes that there are. What has another label is left out and named in the data
    report. Without a list: every label is a class."""
    box_frame: Literal["auto", "upright", "stored"] = "auto"
    """Detection: which way up a picture with an EXIF rotation was when its boxes were drawn:
    ``upright``, as browsers show it, or as its pixels are ``stored``. ``auto`` goes by the size
    that the labels give, and takes ``upright`` where that does not tell."""
    sha256: str | None = None
    """The SHA-256 that a downloaded archive must have."""
    test_share: Share = 0.2
    """The share held out for the test where the source has none."""
    validation_share: Share = 0.1
    """The share of the training pictures that choose the best epoch."""
    calibration_share: Share = 0.1
    """The share of the training pictures that set the temperature and the threshold."""
    max_pixels: int = Field(default=50_000_000, gt=0, le=50_000_000)
    """Pictures with more pixels than this are quarantined. Nothing decodes more than 50 million."""
    strict: bool = False
    """Warnings of the data report become errors."""

    @field_validator("classes", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            # Not a ValueError, before whose message pydantic puts words of its own.
            raise PydanticCustomError(
                "list", "expected a list, such as [{names}]", {"names": value}
            )
        return value


class ModelConfig(Section):
    """Which network, and what it starts from."""

    name: str = "mobilenetv3_large_100"
    """Classification: any timm model (``timm.list_models()``). Detection: one of those that
    docs/models.md lists."""
    pretrained: bool = True
    """Fetch the model's published weights (timm's from the Hugging Face hub, torchvision's from
    PyTorch's server), where they can be reached."""
    weights: str | None = None
    """A .safetensors (or weights-only .pt) file to start from instead."""
    image_size: int = Field(default=224, ge=16, le=2048)
    """The side, in pixels, of the square that the network sees; in detection a multiple of 32."""
    resize: Literal["crop", "squash", "letterbox"] = "crop"
    """``crop``: scale the short side, cut the centre. ``squash``: scale both sides, cut nothing.
    ``letterbox``: scale the long side, fill up the short one. Detection cannot ``crop``."""
    interpolation: Literal["auto", "bilinear", "bicubic", "area"] = "area"
    """How pictures are scaled. ``area``: the mean of the pixels that one covers, the fastest.
    ``bilinear`` and ``bicubic``: antialiased. ``auto``: as for the model's published weights."""
    scaled_decoding: bool = True
    """Decode a large JPEG at 1/2, 1/4 or 1/8 of its size, where twice the pixels that the network
    sees are left along each side: several times as fast for a photo."""


class TrainingConfig(Section):
    """How the network learns."""

    epochs: int = Field(default=10, ge=0)
    """Passes over the training pictures with the whole network. With 0, only the last layers learn
    (``head_first``, ``late_epochs``): often that is enough, and several times as fast."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures a step."""
    out_of_memory: Literal["stop", "split"] = "stop"
    """When memory runs out: ``stop`` and say what to try; or ``split``: begin again with each batch
    learned in 2 parts, then in 4, ..., whose gradients are added up. ``training.json`` says in how
    many. Steps, learning rate and schedule stay those of ``batch_size``."""
    optimizer: str = "adamw"
    """Any timm optimizer: adamw, sgd, lamb, ..."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """The highest learning rate of the schedule. From random weights, ten times the default."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay; biases and normalisation layers are spared."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``cosine``: warm up over the first tenth of the steps, then fall to zero along a cosine."""
    head_first: bool = True
    """With pretrained weights: fit the new head on frozen features before the whole network, and
    keep batch normalisation's statistics. In detection: keep the statistics only."""
    late_epochs: int = Field(default=3, ge=0)
    """After the head and before the whole network: passes in which the last stage alone learns, on
    what the frozen layers before it give, computed once."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """How much of a target's weight is spread over all classes."""
    augmentations: tuple[str, ...] = ("flip", "rotate", "color", "noise", "blur")
    """What is done to training pictures, by name; ``data/augment.py`` lists them."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation F1 (detection: AP50) after which training stops."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` takes bfloat16 where the hardware multiplies it natively."""
    workers: int | None = Field(default=None, ge=0, le=1024)
    """Processes that load pictures. Without a number: what suits the machine."""
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED)
    """The same seed, data and machine give the same model."""


class ExportConfig(Section):
    """Which graphs are written, and how closely they must agree with the trained model."""

    formats: tuple[Literal["torchscript", "onnx", "openvino"], ...] = Field(
        default=("torchscript", "onnx", "openvino"), min_length=1
    )
    """The graphs to write."""
    precisions: tuple[Literal["float32", "bfloat16", "int8"], ...] = (
        "float32",
        "bfloat16",
        "int8",
    )
    """What OpenVINO may compute in, as far as the limits below allow it. float32 is always tried;
    bfloat16 only where this machine's CPU computes in it."""
    max_accuracy_loss: float = Field(default=0.002, ge=0, lt=1)
    """The share of pictures whose top class a graph may change. Detection: of boxes that may
    differ."""
    max_probability_difference: float = Field(default=1e-3, gt=0)
    """The most that a float32 graph may move any probability, or a detected box's score."""
    min_box_iou: float = Field(default=0.99, gt=0, le=1)
    """Detection: the least overlap (intersection over union) of a float32 graph's box with the
    model's."""
    max_reduced_difference: float = Field(default=0.1, gt=0)
    """The most that a graph of reduced precision (bfloat16, int8) may move any probability, or a
    detected box's score."""
    min_reduced_box_iou: float = Field(default=0.9, gt=0, le=1)
    """Detection: the least overlap of a box of a graph of reduced precision with the model's."""


Metric = Literal[
    "accuracy", "f1_macro", "precision_macro", "recall_macro", "map", "map_50", "map_75"
]


class GateConfig(Section):
    """What a model must show before it is registered."""

    metric: Metric = "f1_macro"
    """The metric of evaluation.json that decides. Classification: accuracy and the macro averages.
    Detection: the maps (COCO's average precision) and the macro averages."""
    minimum: float = Field(default=0.8, ge=0, le=1)
    """The least value of the metric."""
    better_than_champion: bool = True
    """Also refuse what the paired test shows to be worse than the champion by more than
    ``promotion.margin``, on the same test pictures."""
    min_kept_accuracy: float = Field(default=0.0, ge=0, le=1)
    """The least share of its accuracy (detection: AP50) that a model must keep, on average, under
    the corruptions of ImageNet-C; 0 asks for nothing. ``robustness.pictures`` measures it."""


class ThresholdsConfig(Section):
    """When a prediction is accepted without a person."""

    by: Literal["class", "all"] = "class"
    """What has a threshold of its own: each predicted class with enough calibration pictures, the
    others together; or all classes together."""
    max_error: float = Field(default=0.02, gt=0, lt=1)
    """The largest share of wrong answers among accepted predictions; in detection, of wrong boxes
    among a picture's accepted ones, on average."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """How sure one wants to be of that."""


class ServingConfig(Section):
    """The local server."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    queue: int | None = Field(default=None, ge=1)
    """Requests that may wait; beyond it the answer is 503. Without a number: 20 for each core."""
    max_body_bytes: int = Field(default=25_000_000, ge=1024)
    """The largest request body."""
    max_waiting_bytes: int = Field(default=250_000_000, ge=1024)
    """Bodies held in memory at once, all requests together; beyond it the answer is 503."""
    deadline_s: float = Field(default=60.0, gt=0)
    """A request that has waited longer is answered 503 and not computed. A client may shorten it
    with the header X-Timeout-Ms."""
    graph: str | None = None
    """The bundle's graph to serve, by its name: openvino, openvino-bfloat16, openvino-int8,
    openvino-int8-bfloat16, onnx, torchscript. Without one: the one that the export chose, where
    this machine can run it."""
    streams: int | None = Field(default=None, ge=1)
    """Batches computed at once. Without a number: what is fastest here, measured once."""
    threads: int | None = Field(default=None, ge=1)
    """Threads that compute, all together. Without a number: one for each usable core."""
    max_batch: int | None = Field(default=None, ge=1, le=256)
    """Pictures computed together at most. Without a number: what is fastest here, measured once."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How the server logs; ``auto``: text on a terminal, else JSON, a line an event."""
    log_requests: bool = False
    """Log every request; without it only those that failed."""
    embedded_metrics: bool = False
    """Print the metrics every minute in CloudWatch's embedded metric format."""
    tracing: bool = False
    """Send a trace of every request where OTEL_EXPORTER_OTLP_ENDPOINT says. Needs pixloop[otel]."""
    capture_share: float = Field(default=0.0, ge=0, le=1)
    """The share of requests that is kept with its answer, in SageMaker's data-capture format."""
    capture_to: str | None = None
    """Where to: a folder or an s3:// address. Without one: .pixloop/captures."""
    capture_max_bytes: int = Field(default=1_000_000_000, ge=1_000_000)
    """Disk that captures may take here; the oldest are removed first."""
    capture_file_s: float = Field(default=60.0, gt=0)
    """How old a file of captures gets before it can be seen: 'pixloop monitor' is so far behind."""
    follow_s: float = Field(default=5.0, ge=0)
    """How often a server without a fixed version looks for a new champion; 0: never."""
    allow_origin: str | None = None
    """The origin, such as https://page.example, whose pages may ask this server from a browser:
    where 'pixloop web export' was put. Without one: no page but the server's own."""

    @field_validator("allow_origin")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        if value is not None and not _ORIGIN.fullmatch(value):
            raise PydanticCustomError(
                "origin",
                "expected one origin as browsers write it, such as https://page.example: small "
                "letters, no path, no slash at the end, no usual port, no *",
            )
        return value


class RegistryConfig(Section):
    """Where model versions live."""

    url: str | None = None
    """An MLflow tracking address. Without one: SQLite in .pixloop/."""
    model: str | None = None
    """The registered model's name. Without one: the project's name."""


#: Where a task's defaults differ from those of the sections, which are classification's.
TASK_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "detection": {
        "model.name": "fasterrcnn_mobilenet_v3_large_fpn",
        "model.image_size": 512,
        "model.resize": "letterbox",
        "training.epochs": 20,
        "training.batch_size": 4,
        "training.learning_rate": 5e-4,
        "training.weight_decay": 0.01,
        "training.augmentations": ("flip", "shift", "color"),
        "gate.metric": "map_50",
        "gate.minimum": 0.5,
    }
}
_TASK_METRICS = {
    "classification": ("accuracy", "f1_macro", "precision_macro", "recall_macro"),
    "detection": ("map", "map_50", "map_75", "f1_macro", "precision_macro", "recall_macro"),
}


class Config(Section):
    """The whole of pixloop.yaml."""

    task: Literal["classification", "detection"]
    """What is learned: what a picture shows, or what is where in it."""
    name: str = Field(default="model", pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$")
    """The project's name: letters, digits and dashes."""
    data: Annotated[DataConfig, BeforeValidator(one_source)]
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    tuning: TuningConfig = TuningConfig()
    gate: GateConfig = GateConfig()
    thresholds: ThresholdsConfig = ThresholdsConfig()
    robustness: RobustnessConfig = RobustnessConfig()
    explanations: ExplanationsConfig = ExplanationsConfig()
    slices: SlicesConfig = SlicesConfig()
    trust: TrustConfig = TrustConfig()
    card: CardConfig = CardConfig()
    serving: ServingConfig = ServingConfig()
    registry: RegistryConfig = RegistryConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    review: ReviewConfig = ReviewConfig()
    annotation: AnnotationConfig = AnnotationConfig()
    promotion: PromotionConfig = PromotionConfig()
    triggers: TriggersConfig = TriggersConfig()
    aws: AwsConfig = AwsConfig()

    @property
    def model_name(self) -> str:
        """The name under which a registry keeps the versions."""
        return self.registry.model or self.name

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        """The task's own defaults, where nothing is set."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("task"), str):
            return raw
        filled = dict(raw)
        for key, value in TASK_DEFAULTS.get(raw["task"], {}).items():
            section, _, name = key.partition(".")
            given = filled.get(section, {})
            if isinstance(given, Mapping):
                filled[section] = {name: value, **given}
        return filled

    @model_validator(mode="after")
    def _fits_task(self) -> "Config":
        if self.gate.min_kept_accuracy and not self.robustness.pictures:
            raise ValueError(
                "gate.min_kept_accuracy: what is kept is not measured, for robustness.pictures is "
                "0; set it to 100, or gate.min_kept_accuracy to 0"
            )
        if self.gate.metric not in _TASK_METRICS[self.task]:
            known = ", ".join(_TASK_METRICS[self.task])
            raise ValueError(
                f"gate.metric: {self.task} has no {self.gate.metric!r}; it has {known}"
            )
        if self.task == "detection":
            if self.model.resize == "crop":
                raise ValueError(
                    "model.resize: a detector must see the whole picture; use letterbox or squash"
                )
            if self.model.image_size % 32:
                raise ValueError(
                    f"model.image_size: a detector needs a multiple of 32, such as "
                    f"{max(32, round(self.model.image_size / 32) * 32)}; "
                    f"it is {self.model.image_size}"
                )
        return self


def config_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every key that can be set, with dots.

    >>> "training.epochs" in config_keys()
    True
    """
    keys: list[str] = []
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += config_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def flatten(config: Config) -> dict[str, Any]:
    """The configuration as one flat mapping from dotted key to a JSON value.

    ``config_file.parse_config({}, [f"{k}={json.dumps(v)}" ...])`` gives the configuration back.
    """
    known = set(config_keys())  # a key's value may be a mapping, too

    def walk(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
        for key, inner in value.items():
            if isinstance(inner, Mapping) and prefix + key not in known:
                yield from walk(inner, f"{prefix}{key}.")
            else:
                yield prefix + key, inner

    return dict(walk(config.model_dump(mode="json"), ""))
