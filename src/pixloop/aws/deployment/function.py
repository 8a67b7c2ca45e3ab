"""The same server in a Lambda function: new versions beside the old, an alias that says which.

Whoever asks, asks the alias ``live``. A new version is published and asked by its number first; the
alias moves only when its answers are right. The alias's description keeps the number of the version
before, which a rollback needs. Versions that serve nobody cost nothing and stay.
"""

from dataclasses import dataclass
from typing import Any

from pixloop.aws.absence import find
from pixloop.aws.answering.asking import LIVE
from pixloop.aws.deployment.target import (
    MODEL_NAME,
    MODEL_PACKAGE,
    MODEL_URL,
    Clients,
    Deployed,
    ModelSource,
    Target,
)
from pixloop.errors import AwsError

_BEFORE = "before: "
_TIMEOUT_S = 60
#: The archive and what is in it, beside each other for a moment.
_DISK_MB = 2048


@dataclass(frozen=True)
class LiveVersion:
    """What the alias points to, and what it pointed to before."""

    version: str
    before: str | None


def read_live(clients: Clients, name: str) -> LiveVersion | None:
    """The version that serves, or None where none does."""
    client = clients.client("lambda")
    alias = find(client.get_alias, FunctionName=name, Name=LIVE)
    if alias is None:
        return None
    _, mark, before = alias.get("Description", "").partition(_BEFORE)
    return LiveVersion(alias["FunctionVersion"], before if mark else None)


def read_function_source(clients: Clients, name: str, qualifier: str = LIVE) -> ModelSource:
    """The model that a version of the function serves."""
    function = clients.client("lambda").get_function(FunctionName=name, Qualifier=qualifier)
    variables = function["Configuration"].get("Environment", {}).get("Variables", {})
    return ModelSource(
        name=variables.get(MODEL_NAME, ""),
        image=function["Code"].get("ImageUri", ""),
        data_url=variables.get(MODEL_URL, ""),
        package_arn=variables.get(MODEL_PACKAGE, ""),
    )


def publish(clients: Clients, target: Target, source: ModelSource) -> Deployed:
    """Publish a version of the function that serves a model. Nobody is sent to it yet."""
    client = clients.client("lambda")
    live = read_live(clients, target.name)
    if live is not None and _serves(client, target, source, live.version):
        return Deployed(target.name, source.name, live.version, changed=False)
    settings = _settings(target, source)
    if find(client.get_function, FunctionName=target.name) is None:
        client.create_function(
            **settings,
            PackageType="Image",
            Code={"ImageUri": source.image},
            Tags={"pixloop:project": target.project},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=target.name)
    else:
        client.update_function_configuration(**settings)
        client.get_waiter("function_updated_v2").wait(FunctionName=target.name)
        client.update_function_code(FunctionName=target.name, ImageUri=source.image)
        client.get_waiter("function_updated_v2").wait(FunctionName=target.name)
    version = client.publish_version(FunctionName=target.name, Description=source.name)["Version"]
    client.get_waiter("published_version_active").wait(FunctionName=target.name, Qualifier=version)
    return Deployed(target.name, source.name, version, changed=True)


def go_live(clients: Clients, target: Target, version: str) -> None:
    """Send everybody to a version, and make sure that the alias has a URL."""
    client = clients.client("lambda")
    live = read_live(clients, target.name)
    move = {"FunctionName": target.name, "Name": LIVE, "FunctionVersion": version}
    if live is None:
        client.create_alias(**move, Description="")
    elif live.version != version:
        client.update_alias(**move, Description=f"{_BEFORE}{live.version}")
    if find(client.get_function_url_config, FunctionName=target.name, Qualifier=LIVE) is None:
        # Who asks signs, and needs lambda:InvokeFunctionUrl.
        client.create_function_url_config(
            FunctionName=target.name, Qualifier=LIVE, AuthType="AWS_IAM"
        )


def go_back(clients: Clients, target: Target) -> str:
    """Send everybody to the version before; its number.

    Raises:
        AwsError: there is none.
    """
    live = read_live(clients, target.name)
    if live is None or live.before is None:
        raise AwsError(f"function {target.name} has no earlier version to go back to.")
    clients.client("lambda").update_alias(
        FunctionName=target.name, Name=LIVE, FunctionVersion=live.before, Description=""
    )
    return live.before


def read_url(clients: Clients, target: Target) -> str | None:
    """The address of the alias, for whoever signs requests."""
    found = find(
        clients.client("lambda").get_function_url_config,
        FunctionName=target.name,
        Qualifier=LIVE,
    )
    return None if found is None else str(found["FunctionUrl"])


def _serves(client: Any, target: Target, source: ModelSource, version: str) -> bool:
    """Whether a version is as it is wished."""
    function = client.get_function(FunctionName=target.name, Qualifier=version)
    configuration, wished = function["Configuration"], _settings(target, source)
    return bool(
        function["Code"].get("ImageUri") == source.image
        and configuration.get("Environment", {}).get("Variables")
        == wished["Environment"]["Variables"]
        and configuration["MemorySize"] == wished["MemorySize"]
        and configuration["Role"] == wished["Role"]
    )


def _settings(target: Target, source: ModelSource) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "FunctionName": target.name,
        "Role": target.role,
        "ImageConfig": {"Command": ["lambda"]},
        "Environment": {"Variables": {**source.environment, MODEL_URL: source.data_url}},
        "MemorySize": target.memory_mb,
        "EphemeralStorage": {"Size": _DISK_MB},
        "Timeout": _TIMEOUT_S,
    }
    if target.subnets:
        settings["VpcConfig"] = {
            "SubnetIds": list(target.subnets),
            "SecurityGroupIds": list(target.security_groups),
        }
    if target.key_arn:
        settings["KMSKeyArn"] = target.key_arn
    return settings
