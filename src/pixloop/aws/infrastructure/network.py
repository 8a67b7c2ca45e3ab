"""The network that pixloop.yaml's subnets are in, and the VPC endpoints that they need."""

from collections.abc import Sequence
from typing import Any

from pixloop.aws.session import Session, translated
from pixloop.config import Config
from pixloop.errors import AwsError


def network_parameters(session: Session, config: Config) -> dict[str, str]:
    """The parameters of ``network.yaml``, found from ``aws.subnets`` and ``aws.security_groups``.

    Raises:
        AwsError: there are none, or they are of several VPCs.
    """
    subnets, groups = config.aws.subnets, config.aws.security_groups
    if not subnets or not groups:
        raise AwsError(
            "VPC endpoints need a VPC: set aws.subnets and aws.security_groups in pixloop.yaml."
        )
    ec2 = session.client("ec2")
    with translated("the subnets of aws.subnets"):
        found = ec2.describe_subnets(SubnetIds=list(subnets))["Subnets"]
        vpcs = sorted({subnet["VpcId"] for subnet in found})
        if len(vpcs) > 1:
            raise AwsError(f"aws.subnets: expected subnets of one VPC; they are of {vpcs}.")
        of_vpc = [{"Name": "vpc-id", "Values": vpcs}]
        tables = ec2.describe_route_tables(Filters=of_vpc)["RouteTables"]
    # An endpoint takes one subnet of each availability zone.
    zones = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in found}
    return {
        "Project": config.name,
        "VpcId": vpcs[0],
        "SubnetIds": ",".join(sorted(zones.values())),
        "SecurityGroupId": groups[0],
        "RouteTableIds": ",".join(_tables_of(subnets, tables)),
    }


def _tables_of(subnets: Sequence[str], tables: list[dict[str, Any]]) -> list[str]:
    """The route tables that subnets use: their own, or the VPC's main one."""
    own, main = {}, ""
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("Main"):
                main = table["RouteTableId"]
            elif "SubnetId" in association:
                own[association["SubnetId"]] = table["RouteTableId"]
    return sorted({own.get(subnet, main) for subnet in subnets})
