"""Estimates against sums reckoned by hand, with round prices."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.aws.infrastructure.templates import Template

from pixloop.aws.cost.estimate import ASSUMED_S, JOB_START_S, estimate, find_durations
from pixloop.aws.cost.prices import FILE, Prices, Services, read_prices
from pixloop.aws.cost.serving import Traffic, find_crossing, queue_month, workflow_month
from pixloop.aws.names import NAMESPACE
from pixloop.aws.stacks import read_text
from pixloop.config import Config
from pixloop.errors import ConfigError
from pixloop.pipeline.runs import RunRecord, StepRecord

MIB = 2**20


@pytest.fixture
def prices() -> Prices:
    """Numbers that are easily multiplied."""
    services = dict.fromkeys(Services.model_fields, 0.0)
    services |= {
        "serverless_gb_second": 0.002,
        "lambda_gb_second": 0.001,
        "lambda_request": 0.0001,
        "endpoint_gb": 0.5,
        "job_storage_gb_month": 0.73,
        "s3_gb_month": 0.25,
        "workflow_transition": 0.01,
        "queue_request": 0.1,
        "cdn_gb": 2.0**30,  # so that a byte costs 1
        "cdn_request": 3.0,
        "rekognition_training_hour": 1.0,
        "rekognition_inference_hour": 4.0,
    }
    return Prices.model_validate(
        {
            "date": "2026-01-01",
            "currency": "USD",
            "instances_per_hour": {
                "eu-west-1": {"ml.process": 1.0, "ml.train": 10.0},
                "us-east-1": {"ml.process": 0.5, "ml.serve": 2.0},
            },
            "services": services,
        }
    )


def configure(**aws: object) -> Config:
    machines = {
        "processing_instance": "ml.process",
        "training_instance": "ml.train",
        "serving_instance": "ml.serve",
        "memory_mb": 2048,
        "capture_percent": 0,
    }
    return Config.model_validate(
        {"task": "classification", "data": {"train": "a"}, "aws": {**machines, **aws}}
    )


#: 100 requests a day, 730 / 24 days: 3,041.67 a month; of 1 MiB, half a second each.
TRAFFIC = Traffic(requests_per_day=100, picture_bytes=MIB, request_s=0.5)
MONTH = 100 * 730 / 24


# ---- A run


def test_a_run_costs_what_the_last_one_took(prices: Prices) -> None:
    durations = {"Prepare": 480.0, "Train": 3480.0, "Export": 1680.0, "Evaluate": 0.0}
    config = configure(processing_instances=3, instances=2)
    run = estimate(config, prices, pictures=9, durations=durations).run
    sums = {line.what: line.sum for line in run.lines}
    # Each job is paid 120 s more: 600, 3,600, 1,800 and 120 s.
    assert JOB_START_S == 120
    assert sums == {
        "Prepare on 3 × ml.process": pytest.approx(3 * 600 / 3600 * 1),
        "Train on 2 × ml.train": pytest.approx(2 * 1 * 10),
        "Export on ml.process": pytest.approx(0.5),
        "Evaluate on ml.process": pytest.approx(120 / 3600),
        # 50 GB for 0.5 + 2 + 0.5 + 0.0333 hours of the month's 730, at 0.73.
        "disks of the jobs": pytest.approx(50 * (3 + 1 / 30) / 730 * 0.73),
    }
    assert run.total == pytest.approx(sum(sums.values()))


def test_what_never_ran_is_assumed_by_the_number_of_pictures_and_said(prices: Prices) -> None:
    config = configure()
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"epochs": 7})}
    )
    found = estimate(config, prices, pictures=4000, durations={"Export": 10.0})
    hours = {line.what.split()[0]: line.quantity for line in found.run.lines}
    assert hours["Prepare"] == pytest.approx((4 * ASSUMED_S["Prepare"] + 120) / 3600)
    assert hours["Train"] == pytest.approx((4 * 7 * ASSUMED_S["Train"] + 120) / 3600)
    assert hours["Export"] == pytest.approx(130 / 3600)
    said = " ".join(found.assumptions)
    assert "assumed for each 1,000 of 4,000 pictures: Prepare 15 s, Train 15 s an epoch" in said
    assert "Export: as long as in this project's last run here" in said


def test_durations_are_those_of_the_newest_run_in_which_a_step_ran() -> None:
    def run(**steps: StepRecord) -> RunRecord:
        return RunRecord(id="r", pid=1, started="2026-01-01T00:00:00+00:00", steps=steps)

    newest = run(
        Prepare=StepRecord(status="cached", seconds=0.0),
        Train=StepRecord(status="done", seconds=50.0),
        Evaluate=StepRecord(status="failed", seconds=3.0),
        Gate=StepRecord(status="done", seconds=0.1),
    )
    older = run(
        Prepare=StepRecord(status="done", seconds=20.0),
        Train=StepRecord(status="done", seconds=70.0),
    )
    assert find_durations([newest, older]) == {"Train": 50.0, "Prepare": 20.0}
    assert find_durations([]) == {}


# ---- Serving


def test_a_month_of_serving_by_each_way(prices: Prices) -> None:
    config = configure(serving_instances=(2, 4), capture_percent=50)
    serving = estimate(config, prices, pictures=1, durations={}, traffic=TRAFFIC).serving
    gb = MONTH / 1024
    # Captured pictures are a third larger.
    captured = gb * 4 / 3 * 0.5 * 0.25
    assert serving["endpoint"].total == pytest.approx(2 * 730 * 2.0 + gb * 0.5 + captured)
    assert serving["serverless"].total == pytest.approx(MONTH * 0.5 * 2 * 0.002 + gb * 0.5)
    assert serving["lambda"].total == pytest.approx(MONTH * (0.5 * 2 * 0.001 + 0.0001))


def test_where_an_endpoint_becomes_cheaper_than_lambda(prices: Prices) -> None:
    config = configure()
    crossing = find_crossing(config, prices, TRAFFIC)
    # 1,460 a month for the endpoint; Lambda takes 0.0011 a request, the endpoint 0.5 / 1,024.
    assert crossing == pytest.approx(1460 / (0.0011 - 0.5 / 1024) / (730 / 24))
    # There, both cost the same.
    there = Traffic(crossing, TRAFFIC.picture_bytes, TRAFFIC.request_s)
    serving = estimate(config, prices, pictures=1, durations={}, traffic=there).serving
    assert serving["endpoint"].total == pytest.approx(serving["lambda"].total)
    said = estimate(config, prices, pictures=1, durations={}, traffic=TRAFFIC).assumptions[-1]
    # 78,455 a day.
    assert f"from {crossing:,.0f} requests a day on, if its 1 can answer 0.9 a second" in said


def test_large_pictures_that_are_quickly_answered_never_cross(prices: Prices) -> None:
    assert find_crossing(configure(), prices, Traffic(100, 100 * MIB, 0.001)) is None


def test_the_queue_and_the_workflow_come_on_top(prices: Prices) -> None:
    paths = estimate(configure(), prices, pictures=1, durations={}, traffic=TRAFFIC).paths
    waiting = MONTH * 0.5 * 0.5 * 0.001
    assert paths["queue"].total == pytest.approx(MONTH * (3 * 0.1 + 0.0001) + waiting)
    assert paths["workflow"].total == pytest.approx(MONTH * (12 * 0.01 + 3 * 0.0001) + waiting)
    assert paths["page"].total == pytest.approx(MONTH * (20_000 + 7 * 3))


def test_the_workflow_s_states_and_calls_are_those_of_an_accepted_picture(prices: Prices) -> None:
    chosen = {"OneOrMany": "One", "AddressOrPicture": "Named", "AnswerOneOrMany": "AnswerOne"}

    def walk(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
        name = machine["StartAt"]
        while name:
            state = machine["States"][name]
            yield state
            if state["Type"] == "Map":
                yield from walk(state["ItemProcessor"])
            name = chosen[name] if state["Type"] == "Choice" else state.get("Next")

    passed = list(walk(json.loads(read_text("workflow.asl.json"))))
    lines = {line.what: line.quantity for line in workflow_month(prices, TRAFFIC).lines}
    assert lines["states passed"] == pytest.approx(MONTH * len(passed))
    tasks = [state for state in passed if state["Type"] == "Task"]
    assert lines["calls of functions"] == pytest.approx(MONTH * len(tasks))


def test_functions_alarms_and_metrics_are_the_templates_own(prices: Prices) -> None:
    template = Template("serving")
    functions = template.of_type("AWS::Lambda::Function")
    (waiting,) = {functions[name]["MemorySize"] for name in ("Classify", "AnswerUpload")}
    for month in (queue_month, workflow_month):
        lines = {line.what: line.quantity for line in month(prices, TRAFFIC).lines}
        assert lines["functions that wait"] == pytest.approx(MONTH * 0.5 * waiting / 1024)
    standing = estimate(configure(), prices, pictures=1, durations={}).standing
    there = {line.what: line.quantity for line in standing.lines}
    assert there["alarms"] == len(template.of_type("AWS::CloudWatch::Alarm"))
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    shown = re.findall(rf'\["{NAMESPACE}", "(\w+)"', dashboard["DashboardBody"])
    assert there["metrics of our own"] == len(set(shown))


def test_rekognition_is_priced_beside_it(prices: Prices) -> None:
    rekognition = estimate(configure(), prices, pictures=1, durations={}).rekognition
    assert [line.sum for line in rekognition.lines] == [1.0, 2920.0]


# ---- What the table does not have


def test_a_price_of_another_region_is_said(prices: Prices) -> None:
    said = estimate(configure(), prices, pictures=1, durations={}).assumptions
    assert "ml.serve: the price is us-east-1's; eu-west-1 may cost more." in said
    assert not any(sentence.startswith(("ml.process", "ml.train")) for sentence in said)


def test_without_a_price_the_sum_is_without_it_and_says_so(prices: Prices) -> None:
    found = estimate(configure(serving_instance="ml.new"), prices, pictures=1, durations={})
    assert found.serving["endpoint"].lines[0].price is None
    assert found.crossing_per_day is None
    assert "ml.new: the table has no price; the sums are without it." in found.assumptions


def test_spot_is_not_promised(prices: Prices) -> None:
    said = " ".join(estimate(configure(spot=True), prices, pictures=1, durations={}).assumptions)
    assert "Spot: Train's price is the one on demand" in said


def test_vpc_endpoints_are_said_where_there_are_subnets() -> None:
    endpoints = Template("network").of_type("AWS::EC2::VPCEndpoint").values()
    count = sum(each["VpcEndpointType"] == "Interface" for each in endpoints)

    inside = configure(subnets=["subnet-1"], security_groups=["sg-1"])
    for config, told in ((inside, True), (configure(), False)):
        said = " ".join(estimate(config, read_prices(), pictures=1, durations={}).assumptions)
        assert (f"{count} cost {count * 7.3:,.0f} a month in each zone" in said) == told


# ---- The table


def test_our_table_has_what_the_defaults_need() -> None:
    prices = read_prices()
    aws = Config.model_validate({"task": "classification", "data": {"train": "a"}}).aws
    for instance in (aws.training_instance, aws.processing_instance, aws.serving_instance):
        assert prices.instance_hour(instance, aws.region)
    assert prices.currency == "USD"
    for region, instances in prices.instances_per_hour.items():
        for instance, price in instances.items():
            assert 0 < price < 100, (region, instance)


def test_a_user_s_own_prices_come_first(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    table = {
        "instances_per_hour": {"eu-west-1": {"ml.c6i.xlarge": 0.19}, "eu-north-1": {"ml.x": 1}},
        "services": {"lambda_request": 0.5},
        "date": "2027-01-02",
    }
    own.write_text(yaml.safe_dump(table))
    prices, ours = read_prices(own), read_prices()
    assert prices.date == "2027-01-02"
    assert prices.instance_hour("ml.c6i.xlarge", "eu-west-1") == 0.19
    assert prices.instance_hour("ml.x", "eu-north-1") == 1
    assert prices.services.lambda_request == 0.5
    kept = prices.instances_per_hour["us-east-1"]
    assert kept == ours.instances_per_hour["us-east-1"]
    assert prices.services.key_month == ours.services.key_month


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"services: {lambda_requests: 1}", "services.lambda_requests: Extra inputs"),
        (b"services: {lambda_request: cheap}", "services.lambda_request: Input should be a valid"),
        (b"services: {s3_put: -1}", r"services.s3_put: .* greater than or equal to 0, not -1"),
        (b"services: {s3_put: .nan}", "services.s3_put: .* a finite number, not nan"),
        (b"services: {s3_put: .inf}", "services.s3_put: .* a finite number, not inf"),
        (
            b"instances_per_hour: {eu-west-1: {ml.a: -1}}",
            r"instances_per_hour.eu-west-1.ml.a: .* greater than or equal to 0, not -1",
        ),
        (b"date: null", "date: Input should be a valid string, not None"),
        (b"currency: ''", "currency: String should have at least 1 character"),
        (b"- a", "expected keys as in"),
        (b"", "expected keys as in"),
        (b"a: [", "is not YAML"),
        (b"date: \xff", "is not YAML"),
    ],
)
def test_a_wrong_table_names_the_file_and_the_key(
    tmp_path: Path, content: bytes, says: str
) -> None:
    own = tmp_path / "own.yaml"
    own.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as raised:
        read_prices(own)
    assert str(own) in str(raised.value)


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"own.yaml: cannot be read: No such file"):
        read_prices(tmp_path / "own.yaml")


def test_the_table_says_where_its_prices_are_from() -> None:
    text = FILE.read_text()
    assert text.count("https://aws.amazon.com/") >= 8
    assert "Check them" in text
