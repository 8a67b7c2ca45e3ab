"""What runs at Rekognition, stopped before the role goes that its scheduled stop needs."""

from pixloop.aws.absence import find
from pixloop.aws.infrastructure.cloudformation import OnEvent, StackEvent
from pixloop.aws.names import Names
from pixloop.aws.rekognition.versions import RUNS, Rekognition
from pixloop.aws.session import Session, translated
from pixloop.errors import AwsError


def stop_rekognition(session: Session, project: str, on_event: OnEvent) -> list[str]:
    """Stop the project's running versions, then remove the schedule that would have.

    pixloop starts none without a schedule: where there is none, Rekognition, which is not in every
    region, is not asked.

    Args:
        session: clients.
        project: ``Config.name``.
        on_event: told of what is stopped and removed.

    Returns:
        What remains at Rekognition, a line each.

    Raises:
        AwsError: there is a schedule, and what runs cannot be asked for or stopped.
    """
    names, scheduler = Names(project), session.client("scheduler")
    try:
        with translated(f"the schedule {names.schedule}"):
            if find(scheduler.get_schedule, Name=names.schedule) is None:
                return []
    except AwsError as e:
        return [f"what may run at Rekognition: {e}"]
    rekognition = Rekognition(session, project, bucket="")
    versions = rekognition.list()
    for version in versions:
        if version.status in RUNS:
            rekognition.stop(version.name)
            what = f"Rekognition version {version.name}"
            on_event(StackEvent("", what, "", "STOP_IN_PROGRESS", ""))
    with translated(f"the schedule {names.schedule}"):
        find(scheduler.delete_schedule, Name=names.schedule)
    on_event(StackEvent("", f"schedule {names.schedule}", "", "DELETE_COMPLETE", ""))
    if not versions:
        return []
    return [f"Rekognition project {names.rekognition} (none of its versions is left running)"]
