"""What happens to a stack's resources, as people see it."""

from typing import TYPE_CHECKING

from pixloop.cli.output import err

if TYPE_CHECKING:
    from pixloop.aws.infrastructure.cloudformation import StackEvent


def print_event(event: "StackEvent") -> None:
    """A line on standard error."""
    style = "red" if event.failed else "dim"
    reason = f"  {event.reason}" if event.reason else ""
    err.print(f"{event.stack}  {event.resource}  {event.status}{reason}", style=style, markup=False)
