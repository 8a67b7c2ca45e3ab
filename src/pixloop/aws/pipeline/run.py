"""``pixloop run --on sagemaker``: from pictures here or on S3 to a registered version there."""

from datetime import UTC, datetime
from pathlib import Path

from pixloop.aws.data_version import data_version
from pixloop.aws.names import Names
from pixloop.aws.pipeline.execution_outputs import conclude
from pixloop.aws.pipeline.executions import (
    POLL_S,
    follow_execution,
    start_execution,
    submit_pipeline,
)
from pixloop.aws.pipeline.inputs import (
    place_annotations,
    place_champion,
    place_pictures,
    place_weights,
)
from pixloop.aws.pipeline.model_packages import ensure_group
from pixloop.aws.resources import find_resources
from pixloop.aws.session import Session, translated
from pixloop.config import Config
from pixloop.pipeline.definition import build_definition
from pixloop.pipeline.display import Listener
from pixloop.run_summary import RunSummary


def run_on_sagemaker(
    config: Config,
    state: Path,
    *,
    train: str | Path,
    test: str | Path | None = None,
    weights: Path | None = None,
    commit: str = "",
    tune: bool = False,
    listener: Listener | None = None,
    session: Session | None = None,
    interval_s: float = POLL_S,
) -> RunSummary:
    """Run the pipeline on SageMaker, follow it to its end, and bring back what it says.

    Args:
        config: the project's.
        state: the project's ``.pixloop`` folder, for the run's record and report.
        train: pictures here, which are uploaded, or the address of a folder on S3.
        test: the same for the test pictures, where they lie elsewhere.
        weights: a file to start from.
        commit: the project's git commit, for the lineage.
        tune: whether to search for the best settings.
        listener: is told what happens.
        session: to AWS; one for ``aws.region`` unless it is given.
        interval_s: seconds between two looks at the execution.

    Raises:
        GateRefused: the model does not meet the gate.
        PipelineError: a step failed.
        AwsError: something is missing on AWS, or AWS refuses.
        DataError: the labels cannot be read.
    """
    session = session or Session(config.aws.region)
    arn = _start(session, config, train, test, weights, commit, tune, state / "annotations")
    return follow_on_sagemaker(
        config, state, arn, listener=listener, session=session, interval_s=interval_s
    )


def follow_on_sagemaker(
    config: Config,
    state: Path,
    arn: str,
    *,
    listener: Listener | None = None,
    session: Session | None = None,
    interval_s: float = POLL_S,
) -> RunSummary:
    """Follow an execution that is at work, or has ended, as ``run_on_sagemaker`` does."""
    session = session or Session(config.aws.region)
    execution = follow_execution(session, arn, listener, interval_s=interval_s)
    return conclude(session, execution, state, config.name)


def _start(
    session: Session,
    config: Config,
    train: str | Path,
    test: str | Path | None,
    weights: Path | None,
    commit: str,
    tune: bool,
    annotated: Path,
) -> str:
    """Bring everything to S3, give the pipeline its definition and start it; the execution."""
    bucket, role, image = find_resources(session, config).need("bucket", "role", "image")
    placed = {"bucket": bucket, "role": role, "image": image}
    config = config.model_copy(update={"aws": config.aws.model_copy(update=placed)})
    train_address = place_pictures(session, bucket, config, train, "train")
    test_address = place_pictures(session, bucket, config, test, "test") if test else None
    champion, champion_version = place_champion(session, bucket)
    annotations = place_annotations(session, bucket, annotated)
    addresses = [train_address, test_address or train_address]
    with translated("listing the pictures"):
        version = data_version(
            session.client("s3"), addresses + ([annotations] if annotations else [])
        )
    definition = build_definition(
        config,
        train=train_address,
        test=test_address,
        weights=place_weights(session, bucket, weights) if weights else None,
        champion=champion,
        annotations=annotations,
        commit=commit,
        tune=tune,
    )
    pipeline = Names(config.name).pipeline
    submit_pipeline(session, pipeline, definition, role)
    ensure_group(session, config.model_name)
    title = f"{config.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    parameters = {"DataVersion": version, "ChampionVersion": champion_version}
    return start_execution(session, pipeline, title, parameters)
