from pixloop.aws.monitoring import fetch_captures, put_metrics
from pixloop.monitoring.evidence import Evidence
from pixloop.monitoring.look import Look


def _look(**more):
    plain = {
        "model": "pets:1",
        "new": 0,
        "seen": 0,
        "damaged": 0,
        "tested": 0,
        "alarms": [],
        "accuracy": None,
        "quality": None,
        "referral_rate": None,
        "evidence": Evidence(signals=[], pictures=[], curves=[]),
    }
    return Look.model_validate(plain | more)


def _alarm(kind, acknowledged=False):
    return {
        "id": kind,
        "kind": kind,
        "model": "pets:1",
        "signal": "brightness",
        "direction": "lower",
        "words": "",
        "at": "2026-05-04T03:02:01Z",
        "since": None,
        "acknowledged": acknowledged,
    }


def test_new_captures_are_fetched_and_old_ones_go(aws, bucket, tmp_path):
    s3 = aws.client("s3")
    for name in ("a.jsonl", "b.jsonl", "c.txt"):
        s3.put_object(Bucket=bucket, Key=f"capture/ep/{name}", Body=b"{}\n")
    address = f"s3://{bucket}/capture"
    assert fetch_captures(aws, address, tmp_path) == 2
    assert fetch_captures(aws, address, tmp_path) == 0
    s3.delete_object(Bucket=bucket, Key="capture/ep/a.jsonl")
    assert fetch_captures(aws, address, tmp_path) == 0
    assert [p.name for p in tmp_path.rglob("*.jsonl")] == ["b.jsonl"]


def _drift(aws):
    found = aws.client("cloudwatch").get_metric_statistics(
        Namespace="pixloop",
        MetricName="Drift",
        Dimensions=[{"Name": "Project", "Value": "pets"}],
        StartTime="2000-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=3_155_760_000,
        Statistics=["Maximum"],
    )
    return [point["Maximum"] for point in found["Datapoints"]]


def test_an_open_drift_alarm_is_one(aws):
    put_metrics(aws, "pets", _look(alarms=[_alarm("drift", True), _alarm("quality")]))
    assert _drift(aws) == [0.0]
    put_metrics(aws, "pets", _look(alarms=[_alarm("drift")]))
    assert _drift(aws) == [1.0]
