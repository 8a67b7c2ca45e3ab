"""What the templates say, read without AWS: rights, environments, rules, alarms, limits."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name
from cfnlint.api import lint
from moto.events.models import EventPattern
from tests.aws.infrastructure.templates import REGION, Template, as_list, length, read_template

import pixloop.aws
from pixloop.aws.infrastructure.github import github_workflow
from pixloop.aws.infrastructure.packages import find_sources
from pixloop.aws.infrastructure.parameters import camel
from pixloop.aws.names import LEARNING_FUNCTIONS, NAMESPACE, SERVING_FUNCTIONS
from pixloop.aws.rehearsal.transformer import target_input
from pixloop.aws.stacks import read_text
from pixloop.config_file import parse_config

TEMPLATES = ("learning", "serving", "network", "page")
EVERYTHING = {
    "learning": {
        "Schedule": "rate(7 days)",
        "GitHubRepository": "owner/pictures",
        "CodeConnectionArn": "arn:aws:codeconnections:eu-west-1:1:connection/1",
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
        "BucketName": "data",
        "DriftAlarmName": "drift",
    },
    "serving": {
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
        "AlarmEmail": "someone@example.org",
        "EndpointName": "vehicles",
        "ModelPackageGroupName": "vehicles",
    },
    "network": {},
    "page": {},
}
#: Why a right cannot be for one resource, by the statement's Sid.
FOR_ALL = {
    "AccountDecides": "in a key's policy, the key itself",
    "ServicesThatSend": "in a key's policy, the key itself",
    "Rekognition": "in a key's policy, the key itself",
    "Logs": "in a key's policy, the key itself",
    "ImageLogin": "ecr:GetAuthorizationToken knows no repository",
    "Metrics": "metrics have no ARN; a condition names the namespaces",
    "Interfaces": "a service's calls for network interfaces come without a resource",
    "NotForOneThing": "three calls without a resource",
    "Trace": "X-Ray has no resources",
    "LogsAndTraces": "log deliveries and X-Ray have no resources",
    "OldConfigurations": "lists know no resource",
}
#: Where an ARN may end in a star, or have one inside, and why.
PATTERNS = {
    r":s3:::[^*]+/\*": "the objects of a bucket, or of a folder in it",
    r":log-group:/aws/sagemaker/\*": "jobs and endpoints make their own log groups",
    r":log-group:/aws/lambda/[^*]+:\*": "the streams of one log group",
    r":(processing|training)-job/pipelines-\*": "a pipeline's jobs bear names of SageMaker's",
    r":(hyper-parameter-tuning|training)-job/\*": "so do a tuning job and its trainings",
    r":model-package/[^*]+/\*": "the versions of one group",
    r":pipeline/[^*]+/execution/\*": "the runs of one pipeline",
    r":(endpoint-config|model)/EndpointInArn-\*": "their names end in a hash",
    r":function:ServerFunctionName:\*": "the versions of one function",
    r":scalable-target/\*": "scaling's ARNs have random ends; a condition names SageMaker",
    r":alarm:TargetTracking-endpoint/\*": "scaling names its own alarms",
    r":alarm:\*": "DescribeAlarms lists",
    r":project/RekognitionProjectName/version/\*": "the versions of one project",
    r":stack/[^*]+/\*": "a stack's ARN ends in a random part",
    r":(function|stateMachine|alarm|rule):?/?NamePrefix\*": "what the project's stacks made",
}


def everything(**more: str) -> list[Template]:
    return [Template(name, **EVERYTHING[name], **more) for name in ("learning", "serving")]


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    assert [str(match) for match in lint(read_text(f"{name}.yaml"), regions=[REGION])] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_fit_in_a_request_and_need_no_aliases(name: str) -> None:
    text = read_text(f"{name}.yaml")

    assert len(text.encode()) < 1_000_000  # CloudFormation's limit for a template in S3
    assert not any(
        isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
        for event in yaml.parse(text)
    )


@pytest.mark.parametrize("to", ["endpoint", "function"])
def test_every_right_names_its_actions_and_its_resources(to: str) -> None:
    seen = 0
    for template in (
        Template("learning", **EVERYTHING["learning"]),
        Template("serving", DeployTo=to, **EVERYTHING["serving"]),
    ):
        for resource, statement in template.statements():
            where = f"{resource}: {statement}"
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, where
                continue
            seen += 1
            assert not {"NotAction", "NotResource"} & set(statement), where
            assert not [a for a in as_list(statement["Action"]) if "*" in a], where
            assert statement.get("Principal") != "*", where
            for arn in as_list(statement.get("Resource", [])):
                if arn == "*":
                    assert statement["Sid"] in FOR_ALL, where
                elif "*" in arn:
                    assert any(re.search(f"{p}$", arn) for p in PATTERNS), f"{arn} in {where}"
    assert seen > 50


def test_actions_exist() -> None:
    """An action that is misspelt gives no right, and nobody says so."""
    known = _known_actions()
    for template in everything():
        for resource, statement in template.statements():
            for action in as_list(statement["Action"]):
                service = action.partition(":")[0]
                if statement["Effect"] == "Allow" and service in known:
                    assert action in known[service], f"{resource}: {action}"


def test_each_function_has_a_role_a_log_and_an_environment_of_its_own() -> None:
    learning, serving = everything()
    functions = {
        **learning.of_type("AWS::Lambda::Function"),
        **serving.of_type("AWS::Lambda::Function"),
    }

    assert set(functions) == set(map(camel, (*LEARNING_FUNCTIONS, *SERVING_FUNCTIONS)))
    assert max(Counter(f["Role"] for f in functions.values()).values()) == 1
    for module in (*LEARNING_FUNCTIONS, *SERVING_FUNCTIONS):
        function = functions[camel(module)]
        assert function["Handler"] == f"pixloop.aws.functions.{module}.handler"
        assert function["FunctionName"] == f"{camel(module)}Name"
        assert function["Code"]["S3Key"] == f"{camel(module)}Key"
        assert function["VpcConfig"] == {
            "SubnetIds": ["subnet-1", "subnet-2"],
            "SecurityGroupIds": ["sg-1"],
        }
        logs = {**learning.resources, **serving.resources}[f"{camel(module)}Logs"]["Properties"]
        assert logs["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"
        assert logs["RetentionInDays"]


@pytest.mark.parametrize("to", ["endpoint", "function"])
def test_functions_are_told_what_their_code_reads(to: str) -> None:
    learning = Template("learning", BucketName="data", PipelineName="loop", Project="vehicles")
    serving = Template(
        "serving", DeployTo=to, Project="vehicles", PicturesBucketName="pictures",
        EndpointName="endpoint-1", ServerFunctionName="server-1", Target="{}",
    )  # fmt: skip
    asks = {
        "PICTURES_BUCKET": "pictures",
        "ENDPOINT_NAME": "endpoint-1" if to == "endpoint" else "",
        "FUNCTION_NAME": "server-1" if to == "function" else "",
        "REKOGNITION_VERSION": "",
        "REKOGNITION_THRESHOLD": "",
    }
    expected = {
        "StartRun": {"PIPELINE_NAME": "loop", "BUCKET": "data"},
        "Serialize": {"PICTURES_BUCKET": "pictures"},
        "Classify": asks,
        "FilterSure": {},
        "AnswerUpload": asks,
        "OnApproved": {"TARGET": "{}"},
        "OnDeployed": {"TARGET": "{}"},
    }
    for template in (learning, serving):
        for name, function in template.of_type("AWS::Lambda::Function").items():
            told = function["Environment"]["Variables"]
            assert told == {"PROJECT": "vehicles", **expected[name]}, name


@pytest.mark.parametrize("to", ["endpoint", "function"])
@pytest.mark.parametrize("module", [*LEARNING_FUNCTIONS, *SERVING_FUNCTIONS])
def test_a_function_may_do_what_its_code_does(module: str, to: str) -> None:
    name = "learning" if module in LEARNING_FUNCTIONS else "serving"
    template = Template(name, **({"DeployTo": to} if name == "serving" else {}))
    other = "lambda" if to == "endpoint" else "sagemaker"
    registry = {"sagemaker:DescribeModelPackage", "sagemaker:UpdateModelPackage"}
    wanted = {
        action
        for action in _actions_of(module)
        if name == "learning" or action in registry or not action.startswith(f"{other}:")
    }
    if module == "serialize":  # it shares a file with those that ask, and does not ask
        wanted -= {"sagemaker:InvokeEndpoint", "lambda:InvokeFunction"}
    if to == "function":
        wanted -= {a for a in wanted if a.startswith(("application-autoscaling", "cloudwatch"))}

    assert wanted <= _allowed(template, f"{camel(module)}Role")


def test_a_commit_may_deploy_and_run_but_not_change_rights() -> None:
    template = Template("learning", **EVERYTHING["learning"])
    modules = (
        "deployment/champion", "image", "infrastructure/cloudformation",
        "infrastructure/code_bucket", "infrastructure/deploy", "infrastructure/parameters",
        "pipeline/executions", "pipeline/inputs", "pipeline/job_progress", "resources", "storage",
        "uploads",
    )  # fmt: skip
    room = Path(pixloop.aws.__file__).parent
    texts = [(room / f"{name}.py").read_text() for name in modules]
    for_people = {
        "cloudformation:CreateStack", "cloudformation:DeleteStack", "s3:CreateBucket",
        "s3:PutBucketEncryption", "s3:PutBucketPolicy", "s3:PutBucketVersioning",
        "s3:PutPublicAccessBlock", "iam:ListOpenIDConnectProviders",
    }  # fmt: skip
    allowed = _allowed(template, "GitHubRole")

    assert set().union(*map(_actions_in, texts)) - for_people <= allowed
    assert allowed == _allowed(template, "BuildRole") - {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    assert {action for action in allowed if action.startswith("iam:")} == {"iam:PassRole"}


def test_what_checkov_is_told_to_skip_has_a_reason() -> None:
    skips = [
        skip
        for name in TEMPLATES
        for resource in read_template(name)["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]

    assert skips
    assert all(len(skip["comment"].split()) > 4 for skip in skips)


def test_rules_match_what_they_are_for_and_nothing_else() -> None:
    learning, serving = everything()
    rules = {**learning.of_type("AWS::Events::Rule"), **serving.of_type("AWS::Events::Rule")}
    events = {
        "NewRawData": _s3("data", "raw/train/cat/1.jpg"),
        "AnnotationsUpdated": _s3("data", "annotations/labels.json"),
        "DriftAlarm": _alarm("drift", "ALARM"),
        "VersionApproved": _approval("vehicles", "Approved"),
        "EndpointDeployed": _endpoint("vehicles", "IN_SERVICE"),
    }
    others = [
        _s3("data", "vehicles/models/model.tar.gz"),
        _s3("data", "champion/model.tar.gz"),
        _s3("elsewhere", "raw/1.jpg"),
        _s3("data", "rawer/1.jpg"),
        _alarm("drift", "OK"),
        _alarm("errors", "ALARM"),
        _approval("vehicles", "PendingManualApproval"),
        _approval("animals", "Approved"),
        _endpoint("vehicles", "FAILED"),
        _endpoint("animals", "IN_SERVICE"),
    ]
    patterns = {
        name: EventPattern.load(json.dumps(rule["EventPattern"]))
        for name, rule in rules.items()
        if "EventPattern" in rule
    }

    assert set(rules) == {*events, "OnSchedule"}
    for name, event in events.items():
        assert [n for n, p in patterns.items() if p.matches_event(event)] == [name]
    for event in others:
        assert [n for n, p in patterns.items() if p.matches_event(event)] == [], event


def test_triggers_say_in_words_what_came() -> None:
    learning = Template("learning", **EVERYTHING["learning"])
    events = {
        "NewRawData": (_s3("data", 'raw/a "b".jpg'), "new raw data"),
        "AnnotationsUpdated": (_s3("data", "annotations/l.json"), "annotations updated"),
        "DriftAlarm": (_alarm("drift", "ALARM"), "drift alarm"),
        "OnSchedule": (_event("aws.events", "Scheduled Event", {}), "schedule"),
    }
    for name, rule in learning.of_type("AWS::Events::Rule").items():
        event, words = events[name]
        (target,) = rule["Targets"]
        said = json.loads(target_input(target, event))

        assert target["Arn"] == "Triggers.Arn"
        assert said["trigger"] == words
        assert said["event"] == event["id"]
        assert said["detail"]


def test_queues_give_functions_time_and_lose_nothing() -> None:
    learning, serving = everything()
    triggers = learning.resources["Triggers"]["Properties"]
    pictures = serving.resources["Pictures"]["Properties"]
    answer = serving.resources["AnswerUpload"]["Properties"]
    (start,) = learning.of_type("AWS::Lambda::EventSourceMapping").values()
    (upload,) = serving.of_type("AWS::Lambda::EventSourceMapping").values()

    assert answer["Timeout"] * 6 <= pictures["VisibilityTimeout"]
    assert pictures["RedrivePolicy"] == {
        "deadLetterTargetArn": "PicturesDead.Arn",
        "maxReceiveCount": 4,
    }
    least = learning.raw["Parameters"]["RetrySeconds"]["MinValue"]
    assert learning.resources["StartRun"]["Properties"]["Timeout"] <= least
    assert triggers["RedrivePolicy"]["maxReceiveCount"] == 1000
    assert (start["BatchSize"], start["MaximumBatchingWindowInSeconds"]) == (1000, 300)
    assert upload["BatchSize"] == 10
    for mapping in (start, upload):
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize("to", ["endpoint", "function"])
def test_alarms_need_no_endpoint_and_the_dashboard_is_json(to: str) -> None:
    serving = Template("serving", DeployTo=to)
    alarms = serving.of_type("AWS::CloudWatch::Alarm")
    drift = alarms["Drift"]
    body = serving.resources["Dashboard"]["Properties"]["DashboardBody"]
    titles = [widget["properties"]["title"] for widget in json.loads(body)["widgets"]]

    assert {alarm["TreatMissingData"] for alarm in alarms.values()} == {"notBreaching"}
    assert (drift["Namespace"], drift["MetricName"], drift["Threshold"]) == (NAMESPACE, "Drift", 1)
    assert drift["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert drift["Dimensions"] == [{"Name": "Project", "Value": "Project"}]
    assert {"Traffic", "Latency", "Errors", "Waiting"} < set(titles)
    assert not re.search(r"\$\{", body)


def test_workflow_gets_what_its_definition_asks_for() -> None:
    workflow = Template("serving").resources["Workflow"]["Properties"]
    wanted = set(re.findall(r"\$\{(\w+)\}", read_text("workflow.asl.json")))

    assert wanted == set(workflow["DefinitionSubstitutions"])
    assert workflow["TracingConfiguration"] == {"Enabled": True}


def test_policies_are_not_too_long() -> None:
    for template in everything():
        for name, policy in template.of_type("AWS::IAM::ManagedPolicy").items():
            assert length(policy["PolicyDocument"]) < 6144, name
        for name, role in template.of_type("AWS::IAM::Role").items():
            inline = [p["PolicyDocument"] for p in role.get("Policies", [])]
            inline += [
                policy["PolicyDocument"]
                for policy in template.of_type("AWS::IAM::Policy").values()
                if name in policy["Roles"]
            ]
            assert sum(map(length, inline)) < 10240, name


def test_what_holds_data_outlives_the_stack() -> None:
    kept = {
        name
        for template in ("learning", "serving")
        for name, resource in read_template(template)["Resources"].items()
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate"
    }

    assert kept >= {
        "Bucket",
        "LogBucket",
        "PicturesBucket",
        "Key",
        "Repository",
        "ModelPackageGroup",
    }


def test_github_workflow_has_no_keys_and_no_more_rights_than_it_needs() -> None:
    config = parse_config({"task": "classification", "name": "vehicles", "data": "x"}, [])
    text = github_workflow(config, "arn:aws:iam::1:role/github", "release")
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["loop"]["steps"]
    commands = "\n".join(step.get("run", "") for step in steps)

    assert "secrets." not in text
    assert "__" not in text.replace("__version__", "")
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow[True]["push"]["branches"] == ["release"]  # YAML 1.1 takes "on" for true
    assert steps[2]["with"]["role-to-assume"] == "arn:aws:iam::1:role/github"
    assert all(re.search(r"@v\d+$", step["uses"]) for step in steps if "uses" in step)
    assert "--repository-name pixloop-vehicles" in commands
    for command in ("pixloop aws image", "pixloop aws deploy", "pixloop run --on sagemaker"):
        assert command in commands
        assert command in read_text("learning.yaml")  # CodeBuild does the same


# ---- what the tests need to know of AWS


def _event(source: str, type_: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0", "id": "e-1", "source": source, "detail-type": type_, "detail": detail,
        "account": "123456789012", "region": REGION, "time": "2026-01-01T00:00:00Z",
        "resources": [],
    }  # fmt: skip


def _s3(bucket: str, key: str) -> dict[str, Any]:
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 1}}
    return _event("aws.s3", "Object Created", detail)


def _alarm(name: str, state: str) -> dict[str, Any]:
    detail = {"alarmName": name, "state": {"value": state}, "previousState": {"value": "OK"}}
    return _event("aws.cloudwatch", "CloudWatch Alarm State Change", detail)


def _approval(group: str, status: str) -> dict[str, Any]:
    detail = {"ModelPackageGroupName": group, "ModelApprovalStatus": status}
    return _event("aws.sagemaker", "SageMaker Model Package State Change", detail)


def _endpoint(name: str, status: str) -> dict[str, Any]:
    detail = {"EndpointName": name, "EndpointStatus": status}
    return _event("aws.sagemaker", "SageMaker Endpoint State Change", detail)


#: IAM's names where they are not those of the API.
_RENAMED = {
    "s3:HeadObject": ["s3:GetObject"],
    "s3:CopyObject": ["s3:GetObject", "s3:PutObject"],
    "lambda:Invoke": ["lambda:InvokeFunction"],
    "s3:GetBucketNotificationConfiguration": ["s3:GetBucketNotification"],
    "s3:HeadBucket": ["s3:ListBucket"],
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:DeleteObjects": ["s3:DeleteObject"],
    "s3:GetBucketEncryption": ["s3:GetEncryptionConfiguration"],
}
_SERVICES = {
    "s3": "s3",
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "lambda": "lambda",
    "application-autoscaling": "application-autoscaling",
    "cloudwatch": "cloudwatch",
    "cloudformation": "cloudformation",
    "ecr": "ecr",
    "iam": "iam",
    "logs": "logs",
}


@cache
def _operations() -> dict[str, list[str]]:
    """The methods of boto3's clients, and the actions that they may be."""
    session, found = botocore.session.get_session(), {}
    for service, prefix in _SERVICES.items():
        for operation in session.get_service_model(service).operation_names:
            action = f"{prefix}:{operation}"
            found.setdefault(xform_name(operation), _RENAMED.get(action, [action]))
    return found


def _actions_of(module: str) -> set[str]:
    """The actions that a function's code calls for, read from its sources."""
    sources = find_sources(f"pixloop.aws.functions.{module}").values()
    return set().union(*(_actions_in(source.read_text()) for source in sources))


def _actions_in(text: str) -> set[str]:
    called = re.findall(r"\.([a-z0-9_]+)\b", text)
    called += re.findall(r'get_paginator\("([a-z0-9_]+)"', text)
    return {action for name in called for action in _operations().get(name, [])}


def _allowed(template: Template, role: str) -> set[str]:
    resource = template.resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in resource.get("Policies", [])]
    for name, policy in template.of_type("AWS::IAM::ManagedPolicy").items():
        documents += (
            [policy["PolicyDocument"]] if name in resource.get("ManagedPolicyArns", []) else []
        )
    for policy in template.of_type("AWS::IAM::Policy").values():
        documents += [policy["PolicyDocument"]] if role in policy["Roles"] else []
    statements = [statement for document in documents for statement in document["Statement"]]
    return {action for statement in statements for action in as_list(statement["Action"])}


@cache
def _known_actions() -> dict[str, set[str]]:
    session = botocore.session.get_session()
    extra = {
        # Rights that are no operations of the API.
        "lambda": {"lambda:InvokeFunction"},
        "sagemaker": {"sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointAsync"},
        "kms": {"kms:ReEncryptFrom", "kms:ReEncryptTo"},
        "ecr": set(),
        "sqs": set(),
        "states": set(),
        "events": set(),
        "cloudformation": set(),
        "application-autoscaling": set(),
        "codebuild": set(),
        "sts": set(),
        "ec2": set(),
        "cloudwatch": set(),
        "sns": set(),
    }
    names = {"states": "stepfunctions"}
    return {
        service: more
        | {
            f"{service}:{operation}"
            for operation in session.get_service_model(names.get(service, service)).operation_names
        }
        for service, more in extra.items()
    }
