"""The VPC that subnets are in, as moto's EC2 has one for each account."""

import json

import pytest

from pixloop.aws.infrastructure.network import network_parameters
from pixloop.aws.session import Session
from pixloop.config import Config
from pixloop.config_file import parse_config
from pixloop.errors import AwsError


def inside(*subnets: str) -> Config:
    groups = ["sg-1"] if subnets else []
    told = [f"aws.subnets={json.dumps(subnets)}", f"aws.security_groups={json.dumps(groups)}"]
    return parse_config({"task": "classification", "name": "vehicles", "data": "p"}, told)


def test_the_network_is_found_from_the_subnets(aws: Session) -> None:
    ec2 = aws.client("ec2")
    subnets = ec2.describe_subnets()["Subnets"][:2]
    ids = [subnet["SubnetId"] for subnet in subnets]
    (main,) = [
        table["RouteTableId"]
        for table in ec2.describe_route_tables()["RouteTables"]
        if table["VpcId"] == subnets[0]["VpcId"]
    ]

    found = network_parameters(aws, inside(*ids))

    assert found["VpcId"] == subnets[0]["VpcId"]
    assert found["RouteTableIds"] == main
    assert sorted(found["SubnetIds"].split(",")) == sorted(ids)
    with pytest.raises(AwsError, match=r"set aws\.subnets"):
        network_parameters(aws, inside())


def test_subnets_of_several_networks_are_refused(aws: Session) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    first = ec2.describe_subnets()["Subnets"][0]["SubnetId"]

    with pytest.raises(AwsError, match=r"expected subnets of one VPC"):
        network_parameters(aws, inside(first, other))


def test_an_endpoint_gets_one_subnet_a_zone_and_all_their_route_tables(aws: Session) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ids = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone=f"eu-west-1{zone}"
        )["Subnet"]["SubnetId"]
        for n, zone in enumerate("aab")
    ]
    (main,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTables"
    ]
    own = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=own, SubnetId=ids[0])

    found = network_parameters(aws, inside(*ids))

    taken = set(found["SubnetIds"].split(","))
    assert len(taken) == 2
    assert taken > {ids[2]}
    assert set(found["RouteTableIds"].split(",")) == {own, main["RouteTableId"]}
    assert own not in network_parameters(aws, inside(*ids[1:]))["RouteTableIds"]
