"""``pixloop.yaml`` as typed, checked values. Every key has a default but ``task`` and ``data``.

An unknown key fails and names the nearest known one. Keys are addressed with dots
(``training.epochs``), in ``--set`` as in pipeline steps.
"""

import contextlib
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pixloop.errors import ConfigError

FILE_NAME = "pixloop.yaml"

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _one_source(value: Any) -> Any:
    """``data: ~/pictures`` is short for ``data: {train: ~/pictures}``."""
    return {"train": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Where the pictures are, and how they are split."""

    train: str
    """A folder, a zip or tar, a .csv, a .jsonl manifest, or an https://, s3://, hf://datasets/
    or kaggle:// address. Where it holds train and test folders, both are used."""
    test: str | None = None
    """Test pictures, where they lie elsewhere. Without any, a share of ``train`` is held out."""
    format: Literal["auto", "class_folders", "csv", "manifest"] = "auto"
    """How labels are written. ``auto`` looks at what is there."""
    sha256: str | None = None
    """The SHA-256 that a downloaded archive must have."""
    test_share: Share = 0.2
    """The share held out for the test where the source has none."""
    validation_share: Share = 0.1
    """The share of the training pictures that choose the best epoch."""
    calibration_share: Share = 0.1
    """The share of the training pictures that set the temperature and the threshold."""
    max_pixels: int = Field(default=50_000_000, gt=0)
    """Pictures with more pixels than this are quarantined."""
    strict: bool = False
    """Warnings of the data report become errors."""


class ModelConfig(Section):
    """Which network, and what it starts from."""

    name: str = "mobilenetv3_large_100"
    """Any timm model (``timm.list_models()``)."""
    pretrained: bool = True
    """Fetch the model's published weights from the Hugging Face hub, where it can be reached."""
    weights: str | None = None
    """A .safetensors (or weights-only .pt) file to start from instead."""
    image_size: int = Field(default=224, ge=16, le=2048)
    """The side, in pixels, of the square that the network sees."""
    resize: Literal["crop", "squash"] = "crop"
    """``crop``: scale the short side, cut the centre. ``squash``: scale both sides, cut nothing."""


class TrainingConfig(Section):
    """How the network learns."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training pictures with the whole network."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures a step."""
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
    keep batch normalisation's statistics."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """How much of a target's weight is spread over all classes."""
    augmentations: tuple[str, ...] = ("flip", "rotate", "color", "noise", "blur")
    """What is done to training pictures, by name; ``data/augment.py`` lists them."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation F1 after which training stops."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` takes bfloat16 where the hardware multiplies it natively."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that load pictures. Without a number: what suits the machine."""
    seed: int = Field(default=0, ge=0)
    """The same seed, data and machine give the same model."""


class ExportConfig(Section):
    """Which graphs are written, and how closely they must agree with the trained model."""

    formats: tuple[Literal["torchscript", "onnx", "openvino"], ...] = Field(
        default=("torchscript", "onnx", "openvino"), min_length=1
    )
    """The graphs to write."""
    max_accuracy_loss: float = Field(default=0.002, ge=0, lt=1)
    """The share of pictures whose top class a graph may change."""
    max_probability_difference: float = Field(default=1e-3, gt=0)
    """The most that a graph may move any probability."""


class GateConfig(Section):
    """What a model must show before it is registered."""

    metric: Literal["accuracy", "f1_macro", "precision_macro", "recall_macro"] = "f1_macro"
    """The metric of evaluation.json that decides."""
    minimum: float = Field(default=0.8, ge=0, le=1)
    """The least value of the metric."""
    better_than_champion: bool = True
    """Also require at least the champion's value on the same test pictures."""


class ThresholdsConfig(Section):
    """When a prediction is accepted without a person."""

    max_error: float = Field(default=0.02, gt=0, lt=1)
    """The largest share of wrong answers among accepted predictions."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """How sure one wants to be of that."""


class ServingConfig(Section):
    """The local server."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    queue: int = Field(default=256, ge=1)
    """Requests that may wait; beyond it the answer is 503."""
    max_body_bytes: int = Field(default=25_000_000, ge=1024)
    """The largest request body."""


class RegistryConfig(Section):
    """Where model versions live."""

    url: str | None = None
    """An MLflow tracking address. Without one: SQLite in .pixloop/."""
    model: str | None = None
    """The registered model's name. Without one: the project's name."""


class AwsConfig(Section):
    """What the pipeline definition needs to run on SageMaker."""

    region: str = "eu-west-1"
    """The AWS region."""
    role: str | None = None
    """The execution role's ARN."""
    bucket: str | None = None
    """The bucket for data, models and reports."""
    image: str | None = None
    """The container image's address in ECR."""
    training_instance: str = "ml.g5.xlarge"
    """The instance type that trains."""
    processing_instance: str = "ml.m5.xlarge"
    """The instance type that prepares, exports and evaluates."""
    instances: int = Field(default=1, ge=1)
    """How many instances train."""


class Config(Section):
    """The whole of pixloop.yaml."""

    task: Literal["classification"]
    """What is learned."""
    name: str = Field(default="model", pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$")
    """The project's name: letters, digits and dashes."""
    data: Annotated[DataConfig, BeforeValidator(_one_source)]
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    gate: GateConfig = GateConfig()
    thresholds: ThresholdsConfig = ThresholdsConfig()
    serving: ServingConfig = ServingConfig()
    registry: RegistryConfig = RegistryConfig()
    aws: AwsConfig = AwsConfig()


class _StrictLoader(yaml.SafeLoader):
    """YAML, with an error for a key that is there twice: the last would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read pixloop.yaml and apply ``key=value`` overrides.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, or a value is wrong; the
            message names the file and the key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 (it is a safe loader)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist. 'pixloop init' makes one.") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not valid YAML: {e}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys such as 'task:' and 'data:'.")
    return parse_config(raw, overrides, where=str(path))


def parse_config(
    raw: Mapping[str, Any], overrides: Iterable[str] = (), where: str = FILE_NAME
) -> Config:
    """Check a mapping as pixloop.yaml would hold it; ``where`` names it in messages.

    >>> parse_config({"task": "classification", "data": "p"}, ["training.epochs=3"]).training.epochs
    3
    """
    merged = json.loads(json.dumps(dict(raw), default=str))
    # "training:" with every key below it commented out is a section left at its defaults.
    merged = {key: value for key, value in merged.items() if value is not None}
    if "data" in merged:
        merged["data"] = _one_source(merged["data"])
    for override in overrides:
        _set_key(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as e:
        raise ConfigError("\n".join(_explain(error, where) for error in e.errors())) from e


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

    ``parse_config({}, [f"{k}={json.dumps(v)}" ...])`` gives the configuration back.
    """

    def walk(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
        for key, inner in value.items():
            if isinstance(inner, Mapping):
                yield from walk(inner, f"{prefix}{key}.")
            else:
                yield prefix + key, inner

    return dict(walk(config.model_dump(mode="json"), ""))


def _set_key(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected key=value, such as training.epochs=3.")
    known = config_keys()
    if key not in known:
        raise ConfigError(f"--set {override!r}: there is no key {key!r}.{_nearest(key, known)}")
    value = _parse_value(text, override)
    *sections, last = key.split(".")
    target = raw
    for section in sections:
        inner = target.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section!r} must hold keys, so {key!r} cannot be set in it.")
        target = inner
    target[last] = value


def _parse_value(text: str, override: str) -> Any:
    # JSON is what steps pass on; its escapes are not all YAML's. People write YAML.
    with contextlib.suppress(ValueError):
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {e}") from e


def _explain(error: Any, where: str) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = list(dict.fromkeys([*Config.model_fields, *config_keys()]))
        return f"{where}: there is no key {key!r}.{_nearest(key, known)}"
    if error["type"] == "missing":
        return f"{where}: {key!r} is missing. It has no default."
    return f"{where}: {key!r}: {error['msg']} (it is {error['input']!r})."


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:
        last = key.rpartition(".")[2]
        near = [k for k in known if k.rpartition(".")[2] == last][:1]
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
