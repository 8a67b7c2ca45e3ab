"""Commits that build and deploy: the GitHub Actions workflow of a user's project."""

from pixloop import __version__
from pixloop.aws.infrastructure.cloudformation import stack_parameters
from pixloop.aws.names import Names
from pixloop.aws.resources import find_outputs
from pixloop.aws.session import Session
from pixloop.aws.stacks import read_text
from pixloop.config import Config
from pixloop.errors import AwsError


def github_workflow(config: Config, role_arn: str, branch: str = "main") -> str:
    """The text of the workflow: on a push, build the image where needed, deploy, run the loop.

    Args:
        config: the project's configuration.
        role_arn: the output ``GitHubRoleArn`` of the learning stack, which trusts one branch of
            one repository.
        branch: that branch.
    """
    text = read_text("github-workflow.yaml")
    values = {
        "__BRANCH__": branch,
        "__ROLE_ARN__": role_arn,
        "__REGION__": config.aws.region,
        "__REQUIREMENT__": requirement(),
        "__REPOSITORY__": Names(config.name).repository,
    }
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def github_role(session: Session, stack: str) -> tuple[str, str]:
    """The role that a learning stack has for GitHub, as its ARN, and the branch that it trusts.

    Raises:
        AwsError: it has none.
    """
    role = (find_outputs(session, stack) or {}).get("GitHubRoleArn")
    if not role:
        raise AwsError(
            "The learning stack trusts no GitHub repository yet: "
            "'pixloop aws deploy --github OWNER/NAME' makes the role."
        )
    return role, stack_parameters(session, stack)["GitHubBranch"]


def requirement() -> str:
    """What pip installs so that a build has the pixloop that made the stacks."""
    return f"pixloop[aws]=={__version__}"
