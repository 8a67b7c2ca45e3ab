"""The last links of the chain: what there is and costs, and taking everything down."""

from pixloop.aws.cost.estimate import estimate, find_durations
from pixloop.aws.cost.prices import read_prices
from pixloop.aws.infrastructure.status import read_status
from pixloop.aws.infrastructure.teardown import destroy_stacks
from pixloop.aws.rehearsal.stage import LinkBroken, Stage
from pixloop.pipeline.runs import list_runs


def look(stage: Stage) -> str:
    """'pixloop aws status' and 'pixloop aws cost'."""
    status = read_status(stage.session, stage.config)
    if status.unknown:
        raise LinkBroken(f"What cannot be read: {'; '.join(status.unknown)}")
    serving = {each.name: each.model for each in status.serving}
    expected = stage.model_name(stage.versions["retrained"])
    if serving.get(stage.names.endpoint) != expected:
        raise LinkBroken(f"The status says that {serving} serves, not {expected}.")
    runs = list_runs(stage.cloud.folder / "pipelines" / stage.outputs["PipelineName"])
    costs = estimate(
        stage.config,
        read_prices(),
        pictures=len(list(stage.pictures.first.rglob("*.*"))),
        durations=find_durations(runs),
    )
    return (
        f"{stage.names.endpoint} serves {expected}; alarms: {', '.join(status.alarms) or 'none'}; "
        f"on AWS a run would cost about {costs.run.total:.2f} {costs.currency}, by prices of "
        f"{costs.date}"
    )


def tear_down(stage: Stage) -> str:
    """'pixloop aws destroy' with all data."""
    # What is still on its way to a function must not find it gone.
    stage.wait(lambda: stage.cloud.events.quiet, "the delivery of every event")
    removed: list[str] = []
    remains = destroy_stacks(
        stage.session,
        stage.config,
        keep_data=False,
        on_event=lambda event: removed.append(event.resource),
    )
    if stage.cloud.endpoints.running:
        raise LinkBroken(f"Endpoints still run: {list(stage.cloud.endpoints.running)}.")
    stacks = stage.client("cloudformation").describe_stacks()["Stacks"]
    left = [stack["StackName"] for stack in stacks]
    if left:
        raise LinkBroken(f"Stacks are left: {', '.join(left)}.")
    return f"{len(removed)} things removed; what remains on AWS: {'; '.join(remains)}"
