"""Which branch the workflow for GitHub Actions is for: the one that the stack's role trusts."""

import json
from pathlib import Path

import pytest

from pixloop.aws.names import Names
from pixloop.aws.project import AwsProject
from pixloop.aws.session import Session
from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.errors import AwsError

ROLE = "arn:aws:iam::123456789012:role/github"


@pytest.fixture
def project(aws: Session, tmp_path: Path) -> AwsProject:
    def no_bundle(version: str) -> tuple[str, Bundle]:
        raise AssertionError(version)

    config = Config.model_validate(
        {"task": "classification", "name": "cats", "data": {"train": "pictures"}}
    )
    return AwsProject(config, tmp_path, "", no_bundle)


@pytest.fixture
def stack(aws: Session) -> None:
    """As much of a learning stack as has a role for GitHub."""
    template = {
        "Parameters": {"GitHubBranch": {"Type": "String"}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {"GitHubRoleArn": {"Value": ROLE}},
    }
    aws.client("cloudformation").create_stack(
        StackName=Names("cats").learning_stack,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "GitHubBranch", "ParameterValue": "release"}],
    )


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("branch", [None, "release"])
def test_the_workflow_is_for_the_branch_that_the_role_trusts(
    project: AwsProject, branch: str | None
) -> None:
    text = project.github_workflow(branch)
    assert "branches: [release]" in text
    assert ROLE in text


@pytest.mark.usefixtures("stack")
def test_a_branch_that_the_role_does_not_trust_is_refused(project: AwsProject) -> None:
    with pytest.raises(AwsError, match=r"trusts the branch release, not main: .*-branch main"):
        project.github_workflow("main")


def test_without_a_role_the_workflow_is_refused(project: AwsProject) -> None:
    with pytest.raises(AwsError, match="trusts no GitHub repository yet"):
        project.github_workflow()


def test_with_a_role_of_ones_own_no_stack_is_asked(project: AwsProject) -> None:
    assert "branches: [main]" in project.github_workflow(role=ROLE)
    assert "branches: [next]" in project.github_workflow("next", ROLE)
