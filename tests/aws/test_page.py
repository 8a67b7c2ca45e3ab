"""The page on the stand-in cloud: hosted, filled, let ask the function, taken down.

moto's CloudFormation knows nothing of CloudFront. The distribution and its access control are made
by moto's CloudFront from the template's properties; response headers moto does not have at all, so
that they are read from the template.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.aws.infrastructure.templates import Template
from tests.small_bundles import write_colours
from typer.testing import CliRunner

from pixloop.aws.absence import find
from pixloop.aws.deployment.function_access import close, is_public, open_to_page
from pixloop.aws.infrastructure.cloudformation import StackEvent, stack_status
from pixloop.aws.infrastructure.parameters import Place
from pixloop.aws.infrastructure.status import read_status
from pixloop.aws.infrastructure.teardown import destroy_stacks
from pixloop.aws.names import Names
from pixloop.aws.page import TryPage
from pixloop.aws.pipeline.model_packages import PackageRegistry
from pixloop.aws.rehearsal import stack as stand_in
from pixloop.aws.rehearsal.cloud import Cloud
from pixloop.aws.rehearsal.stack_resources import KINDS, Client, Kind, Made
from pixloop.aws.session import Session
from pixloop.cli.app import app
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError
from pixloop.project import Project

ACCOUNT, REGION, PAGE = "123456789012", "eu-west-1", "https://d1.cloudfront.net"
NAMES = Names("vehicles")
FUNCTION = NAMES.server_function


def ignore(event: StackEvent) -> None:
    pass


def config(*overrides: str) -> Config:
    return parse_config({"task": "classification", "name": "vehicles", "data": "x"}, overrides)


def page_of(session: Any, state: Path, *overrides: str) -> TryPage:
    place = Place(config(*overrides), ACCOUNT, "aws", "code")
    bundle = write_colours(state / "bundle")
    registry = PackageRegistry(session, "vehicles")
    return TryPage(place, session, registry, state, lambda version: (version, bundle))


def listed(items: list[Any]) -> dict[str, Any]:
    return {"Quantity": len(items), "Items": items}


def make_distribution(client: Client, name: str, given: Mapping[str, Any], account: str) -> Made:
    """As CloudFormation does: the lists of CloudFront's API have counts."""
    settings = {**given["DistributionConfig"], "CallerReference": name}
    settings["IsIPV6Enabled"] = settings.pop("IPV6Enabled")
    settings["Origins"] = listed(settings["Origins"])
    behaviour = dict(settings["DefaultCacheBehavior"])
    behaviour["AllowedMethods"] = listed(behaviour["AllowedMethods"])
    settings["DefaultCacheBehavior"] = behaviour
    made = client("cloudfront").create_distribution(DistributionConfig=settings)["Distribution"]
    return made["Id"], {"DomainName": made["DomainName"]}


def remove_distribution(client: Client, name: str) -> None:
    etag = client("cloudfront").get_distribution(Id=name)["ETag"]
    client("cloudfront").delete_distribution(Id=name, IfMatch=etag)


def make_access(client: Client, name: str, given: Mapping[str, Any], account: str) -> Made:
    settings = given["OriginAccessControlConfig"]
    made = client("cloudfront").create_origin_access_control(OriginAccessControlConfig=settings)
    return made["OriginAccessControl"]["Id"], {"Id": made["OriginAccessControl"]["Id"]}


def remove_access(client: Client, name: str) -> None:
    etag = client("cloudfront").get_origin_access_control(Id=name)["ETag"]
    client("cloudfront").delete_origin_access_control(Id=name, IfMatch=etag)


CLOUDFRONT = (
    Kind("AWS::CloudFront::Distribution", None, make_distribution, remove_distribution),
    Kind("AWS::CloudFront::OriginAccessControl", None, make_access, remove_access),
)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(stand_in, "KINDS", (*KINDS, *CLOUDFRONT))
    with Cloud(tmp_path / "cloud") as cloud:
        yield cloud


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    for name in ("index.html", "export.js", "app.css", "icon.svg", "settings.json"):
        (folder / name).write_text(f"this is {name}")
    return folder


def make_function(session: Any, model: str = "vehicles:here-3") -> None:
    """A function that serves, as a deployment leaves it: with an alias and a closed URL."""
    role = session.client("iam").create_role(RoleName="server", AssumeRolePolicyDocument="{}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as code:
        code.writestr("a.py", "def handler(event, context): ...")
    client = session.client("lambda")
    client.create_function(
        FunctionName=FUNCTION, Role=role["Role"]["Arn"], Runtime="python3.12", Handler="a.handler",
        Code={"ZipFile": packed.getvalue()}, Publish=True,
        Environment={"Variables": {"PIXLOOP_MODEL_NAME": model}},
    )  # fmt: skip
    client.create_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")
    client.create_function_url_config(FunctionName=FUNCTION, Qualifier="live", AuthType="AWS_IAM")


def url_of(session: Any) -> dict[str, Any]:
    found: dict[str, Any] = session.client("lambda").get_function_url_config(
        FunctionName=FUNCTION, Qualifier="live"
    )
    return found


def rights_of(session: Any) -> list[dict[str, Any]]:
    get = session.client("lambda").get_policy
    found = find(get, FunctionName=FUNCTION, Qualifier="live")  # none once the last right is gone
    statements: list[dict[str, Any]] = json.loads(found["Policy"])["Statement"] if found else []
    return statements


# ---- whom the page asks


def test_a_function_is_opened_for_one_origin_and_closed_again(aws: Session) -> None:
    make_function(aws)
    assert not is_public(aws, FUNCTION)

    for _ in range(2):  # a second export of the same page
        open_to_page(aws, FUNCTION, PAGE)
    opened, rights = url_of(aws), rights_of(aws)
    assert is_public(aws, FUNCTION)
    serving = read_status(aws, config()).serving
    assert [s.status for s in serving] == ["Active, asked by anybody"]
    assert close(aws, FUNCTION)
    assert not close(aws, FUNCTION)

    assert opened["AuthType"] == "NONE"
    assert opened["Cors"]["AllowOrigins"] == [PAGE]
    assert opened["Cors"]["AllowHeaders"] == ["content-type"]
    assert "AllowCredentials" not in opened["Cors"]
    assert {right["Action"] for right in rights} == {
        "lambda:InvokeFunctionUrl", "lambda:InvokeFunction",
    }  # fmt: skip
    assert url_of(aws)["AuthType"] == "AWS_IAM"
    assert rights_of(aws) == []
    assert [s.status for s in read_status(aws, config()).serving] == ["Active"]


def test_what_there_is_not_cannot_be_opened_and_need_not_be_closed(aws: Session) -> None:
    assert not close(aws, FUNCTION)
    assert not is_public(aws, FUNCTION)
    with pytest.raises(AwsError, match="nothing was deployed to it"):
        open_to_page(aws, FUNCTION, PAGE)


def test_nothing_is_made_public_unless_the_project_says_so(aws: Session, tmp_path: Path) -> None:
    make_function(aws)

    with pytest.raises(AwsError, match=r"anybody who asks.*aws\.public_function: true"):
        page_of(aws, tmp_path).find_function()
    asked = page_of(aws, tmp_path, "aws.public_function=true").find_function()

    assert asked.url == url_of(aws)["FunctionUrl"]
    assert asked.model == "vehicles:here-3"
    assert asked.bundle.manifest.classes == ("red", "green", "blue")
    assert not is_public(aws, FUNCTION)  # asking for it changes nothing


def test_without_a_function_the_page_has_nobody_to_ask(aws: Session, tmp_path: Path) -> None:
    with pytest.raises(AwsError, match="pixloop deploy --on lambda"):
        page_of(aws, tmp_path, "aws.public_function=true").find_function()


# ---- where it lies


@pytest.mark.integration
def test_a_page_is_hosted_filled_replaced_and_taken_down(
    cloud: Cloud, tmp_path: Path, exported: Path
) -> None:
    session = Session(REGION)
    page = page_of(session, tmp_path)
    told: list[StackEvent] = []

    hosted = page.host(told.append)
    page.upload(hosted, exported)
    (exported / "export.js").rename(exported / "other.js")
    again = page.host(ignore)
    page.upload(hosted, exported)

    assert again == hosted
    assert told[-1].status == "CREATE_COMPLETE"
    assert hosted.bucket == f"pixloop-vehicles-page-{ACCOUNT}-{REGION}"
    assert hosted.address.startswith("https://")
    assert hosted.address.endswith(".cloudfront.net")
    s3 = session.client("s3")
    there = {o["Key"] for o in s3.list_objects_v2(Bucket=hosted.bucket)["Contents"]}
    assert there == {"index.html", "other.js", "app.css", "icon.svg", "settings.json"}
    heads = {name: s3.head_object(Bucket=hosted.bucket, Key=name) for name in there}
    assert {name: head["ContentType"] for name, head in heads.items()} == {
        "index.html": "text/html; charset=utf-8",
        "other.js": "text/javascript; charset=utf-8",
        "app.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "settings.json": "application/json",
    }
    assert heads["index.html"]["CacheControl"] == "no-cache"
    assert "immutable" in heads["app.css"]["CacheControl"]
    batches = session.client("cloudfront").list_invalidations(DistributionId=hosted.distribution)
    assert batches["InvalidationList"]["Quantity"] == 2
    distribution = session.client("cloudfront").get_distribution(Id=hosted.distribution)
    settings = distribution["Distribution"]["DistributionConfig"]
    assert settings["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "redirect-to-https"
    (origin,) = settings["Origins"]["Items"]
    assert origin["DomainName"].startswith(f"{hosted.bucket}.s3.")

    make_function(session)
    page.open_function(hosted)
    assert url_of(session)["Cors"]["AllowOrigins"] == [hosted.address]
    page.remove(told.append)

    assert stack_status(session, NAMES.page_stack) is None
    assert hosted.bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert not is_public(session, FUNCTION)
    page.remove(ignore)  # once more is fine


@pytest.mark.integration
def test_the_command_hosts_the_page_and_then_opens_the_function_to_it(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(REGION)
    make_function(session)
    file = tmp_path / "pixloop.yaml"
    file.write_text("task: classification\nname: vehicles\ndata: x\n")
    bundle = write_colours(tmp_path / "bundle")
    monkeypatch.setattr(Project, "bundle", lambda self, version=None: (version or "3", bundle))

    def export(*options: str) -> Any:
        run = ["web", "export", "--on", "aws", "--json", *options, "-C", str(tmp_path)]
        return CliRunner().invoke(app, run)

    refused = export()
    assert isinstance(refused.exception, AwsError)
    assert stack_status(session, NAMES.page_stack) is None
    file.write_text(file.read_text() + "aws: {public_function: true}\n")
    made = json.loads(export().stdout)
    opened = url_of(session)

    assert made["model"] == "vehicles:here-3"
    assert made["server"] == opened["FunctionUrl"].rstrip("/") + "/invocations"
    assert opened["AuthType"] == "NONE"
    assert opened["Cors"]["AllowOrigins"] == [made["address"]]
    bucket = f"pixloop-vehicles-page-{ACCOUNT}-{REGION}"
    page = session.client("s3").get_object(Bucket=bucket, Key="index.html")["Body"].read().decode()
    assert f"connect-src {opened['FunctionUrl'].rstrip('/')};" in page

    # A page that asks another server has no need of an open function.
    other = json.loads(export("--url", "https://pictures.example").stdout)
    assert other["address"] == made["address"]
    assert not is_public(session, FUNCTION)
    export()
    assert is_public(session, FUNCTION)
    assert json.loads(export("--remove").stdout) == {"removed": True}
    assert not is_public(session, FUNCTION)
    assert stack_status(session, NAMES.page_stack) is None


@pytest.mark.integration
def test_destroying_the_project_takes_its_page_along(
    cloud: Cloud, tmp_path: Path, exported: Path
) -> None:
    session = Session(REGION)
    page = page_of(session, tmp_path)
    page.upload(page.host(ignore), exported)

    remains = destroy_stacks(session, config(), on_event=ignore)

    assert stack_status(session, NAMES.page_stack) is None
    assert not [line for line in remains if "page" in line]


def test_a_bucket_of_that_name_that_is_not_the_stacks_is_left_alone(
    aws: Session, tmp_path: Path, exported: Path
) -> None:
    page, s3 = page_of(aws, tmp_path), aws.client("s3")
    name = f"pixloop-vehicles-page-{ACCOUNT}-{REGION}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=name, Key="mine", Body=b"")

    page.remove(ignore)

    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 1


# ---- what the template says


def test_the_bucket_is_read_by_the_distribution_alone() -> None:
    template = Template("page", BucketName="page", Project="vehicles")
    bucket = template.resources["Bucket"]["Properties"]
    allowed = [s for _, s in template.statements() if s["Effect"] == "Allow"]
    (distribution,) = template.of_type("AWS::CloudFront::Distribution").values()
    (origin,) = distribution["DistributionConfig"]["Origins"]
    (access,) = template.of_type("AWS::CloudFront::OriginAccessControl").values()

    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert [(s["Principal"], s["Action"]) for s in allowed] == [
        ({"Service": "cloudfront.amazonaws.com"}, "s3:GetObject")
    ]
    assert allowed[0]["Condition"]["StringEquals"]["AWS:SourceArn"].endswith(
        ":distribution/Distribution"
    )
    assert origin["OriginAccessControlId"] == "Access.Id"
    assert access["OriginAccessControlConfig"]["SigningBehavior"] == "always"


def test_visitors_get_tls_and_headers_that_the_page_cannot_give_itself() -> None:
    template = Template("page")
    (distribution,) = template.of_type("AWS::CloudFront::Distribution").values()
    behaviour = distribution["DistributionConfig"]["DefaultCacheBehavior"]
    (headers,) = template.of_type("AWS::CloudFront::ResponseHeadersPolicy").values()
    security = headers["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    policy = security["ContentSecurityPolicy"]["ContentSecurityPolicy"]

    assert behaviour["ViewerProtocolPolicy"] == "redirect-to-https"
    assert behaviour["AllowedMethods"] == ["GET", "HEAD"]
    assert behaviour["ResponseHeadersPolicyId"] == "Headers"
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31536000
    assert template.raw["Outputs"]["Address"]["Value"] == {
        "Fn::Sub": "https://${Distribution.DomainName}"
    }


def test_names_are_short_enough_for_cloudfront() -> None:
    names = Names("Aa-" * 20 + "end")

    assert len(names.page(REGION)) <= 64
    assert names.page(REGION) != names.page("us-east-1")  # CloudFront knows no regions
