"""What Lambda does with functions, done by processes of this machine."""

import json
import os
import signal
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pixloop.aws.infrastructure.packages import build_package
from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.session import Session

Make = Callable[..., str]

pytestmark = pytest.mark.integration


def invoke(aws: Session, name: str, event: Any = None, **options: Any) -> tuple[Any, str | None]:
    payload = json.dumps({} if event is None else event)
    answer = aws.client("lambda").invoke(FunctionName=name, Payload=payload, **options)
    text = answer["Payload"].read()
    return (json.loads(text) if text else None), answer.get("FunctionError")


def source(text: str) -> str:
    return textwrap.dedent(text)


ECHO = "def handler(event, context):\n    return {'got': event}\n"


def test_returns_what_the_function_returns(aws: Session, make_function: Make) -> None:
    make_function("echo", ECHO)
    assert invoke(aws, "echo", {"ä": [1, None]}) == ({"got": {"ä": [1, None]}}, None)


def test_one_process_answers_one_event_after_the_other(
    aws: Session, make_function: Make, lambdas: Lambdas
) -> None:
    make_function("count", "n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n\n")
    assert [invoke(aws, "count")[0] for _ in range(3)] == [1, 2, 3]
    assert len(lambdas.processes("count")) == 1
    assert len(lambdas.cold_starts["count"]) == 1
    assert lambdas.cold_starts["count"][0] > 0


def test_events_at_once_get_processes_of_their_own(
    aws: Session, make_function: Make, lambdas: Lambdas, tmp_path: Path
) -> None:
    # Each answers only when all three are at work.
    make_function(
        "meet",
        source(f"""
            import os, time
            def handler(event, context):
                open({str(tmp_path)!r} + "/" + str(os.getpid()) + ".here", "w").close()
                while sum(f.endswith(".here") for f in os.listdir({str(tmp_path)!r})) < 3:
                    time.sleep(0.02)
                return os.getpid()
        """),
    )
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: invoke(aws, "meet")[0], range(3)))
    assert sorted(answers) == sorted(lambdas.processes("meet"))
    assert len(set(answers)) == 3


def test_sees_what_lambda_gives_it_and_nothing_of_this_environment(
    aws: Session, make_function: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_MACHINE", "1")
    make_function(
        "look",
        "import os\ndef handler(event, context):\n    return dict(os.environ)\n",
        Environment={"Variables": {"PROJECT": "colours"}},
    )
    seen, _ = invoke(aws, "look")
    assert seen["PROJECT"] == "colours"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "look"
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["AWS_REGION"] == "eu-west-1"
    assert seen["AWS_ENDPOINT_URL"] == os.environ["AWS_ENDPOINT_URL"]
    assert "SECRET_OF_THIS_MACHINE" not in seen
    assert "VIRTUAL_ENV" not in seen


@pytest.mark.parametrize("module", ["pixloop", "numpy", "torch", "moto", "pydantic"])
def test_what_is_not_in_the_package_cannot_be_imported(
    aws: Session, make_function: Make, module: str
) -> None:
    make_function("poor", f"import {module}\n{ECHO}")
    error, kind = invoke(aws, "poor")
    assert kind == "Unhandled"
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert module in error["errorMessage"]


def test_boto3_is_there(aws: Session, make_function: Make, bucket: str) -> None:
    make_function(
        "buckets",
        source("""
            import boto3
            def handler(event, context):
                return [b["Name"] for b in boto3.client("s3").list_buckets()["Buckets"]]
        """),
    )
    assert invoke(aws, "buckets") == ([bucket], None)


def test_errors_have_their_type_and_message(aws: Session, make_function: Make) -> None:
    make_function(
        "fail",
        source("""
            class ThresholdNotMet(Exception): pass
            def handler(event, context): raise ThresholdNotMet("red, 0.4")
        """),
    )
    error, kind = invoke(aws, "fail")
    assert kind == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("ThresholdNotMet", "red, 0.4")


def test_who_runs_out_of_time_is_killed(
    aws: Session, make_function: Make, lambdas: Lambdas
) -> None:
    make_function(
        "sleep",
        source("""
            import time
            def handler(event, context):
                left = context.get_remaining_time_in_millis()
                if event.get("sleep"):
                    time.sleep(60)
                return left
        """),
        Timeout=1,
    )
    left, _ = invoke(aws, "sleep")
    assert 0 < left <= 1000
    before = lambdas.processes("sleep")
    error, kind = invoke(aws, "sleep", {"sleep": True})
    assert kind == "Unhandled"
    assert error["errorType"] == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in error["errorMessage"]
    assert lambdas.processes("sleep") == []
    assert invoke(aws, "sleep")[1] is None
    assert lambdas.processes("sleep") != before


def test_a_crash_is_told_and_the_next_event_starts_anew(
    aws: Session, make_function: Make, lambdas: Lambdas
) -> None:
    make_function(
        "crash",
        source("""
            import os, signal
            def handler(event, context):
                if event.get("crash"):
                    os.kill(os.getpid(), signal.SIGKILL)
                if event.get("leave"):
                    os._exit(3)
                return os.getpid()
        """),
    )
    first, _ = invoke(aws, "crash")
    error, kind = invoke(aws, "crash", {"crash": True})
    assert kind == "Unhandled"
    assert error["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in error["errorMessage"]
    assert "exit status 3" in invoke(aws, "crash", {"leave": True})[0]["errorMessage"]
    second, kind = invoke(aws, "crash")
    assert kind is None
    assert second != first
    assert lambdas.processes("crash") == [second]


def test_a_process_killed_between_events_is_replaced(
    aws: Session, make_function: Make, lambdas: Lambdas, until: Callable[..., Any]
) -> None:
    make_function("echo", ECHO)
    invoke(aws, "echo")
    (pid,) = lambdas.processes("echo")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not lambdas.processes("echo"))
    assert invoke(aws, "echo", 7) == ({"got": 7}, None)
    assert len(lambdas.cold_starts["echo"]) == 2


def test_new_code_and_new_settings_are_used(
    aws: Session, make_function: Make, lambdas: Lambdas
) -> None:
    make_function("look", "import os\ndef handler(e, c):\n    return os.environ.get('WHAT')\n")
    assert invoke(aws, "look")[0] is None
    (old,) = lambdas.processes("look")
    aws.client("lambda").update_function_configuration(
        FunctionName="look", Environment={"Variables": {"WHAT": "new"}}
    )
    assert invoke(aws, "look")[0] == "new"
    assert old not in lambdas.processes("look")


def test_logs_are_in_cloudwatch_and_in_the_answer(
    aws: Session, make_function: Make, tmp_path: Path
) -> None:
    make_function("say", "def handler(event, context):\n    print('hello', event)\n")
    invoke(aws, "say", 1)
    invoke(aws, "say", 2)
    logs = aws.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName="/aws/lambda/say")["logStreams"]
    events = logs.get_log_events(
        logGroupName="/aws/lambda/say", logStreamName=stream["logStreamName"]
    )["events"]
    lines = [event["message"] for event in events]
    assert [line for line in lines if line.startswith("hello")] == ["hello 1", "hello 2"]
    reports = [line for line in lines if line.startswith("REPORT")]
    assert ["Init Duration" in report for report in reports] == [True, False]
    (file,) = (tmp_path / "lambdas/logs/say").iterdir()
    assert "hello 2" in file.read_text()


def test_printed_metrics_become_cloudwatchs(aws: Session, make_function: Make) -> None:
    make_function(
        "filter",
        build_package("filter_sure"),
        Handler="pixloop.aws.functions.filter_sure.handler",
        Environment={"Variables": {"PROJECT": "colours"}},
    )
    event = {"picture": "s3://b/a", "model": "colours:1", "prediction": {"boxes": []}}
    assert invoke(aws, "filter", event) == (event, None)
    listed = aws.client("cloudwatch").list_metrics(Namespace="pixloop")["Metrics"]
    assert sorted(metric["MetricName"] for metric in listed) == ["Accepted", "Referred"]
    assert listed[0]["Dimensions"] == [{"Name": "Project", "Value": "colours"}]


def test_an_error_at_import_is_told_each_time(aws: Session, make_function: Make) -> None:
    make_function("broken", "raise ValueError('no settings')\n")
    for _ in range(2):
        error, kind = invoke(aws, "broken")
        assert kind == "Unhandled"
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no settings")


def test_asynchronous_events_are_tried_three_times(
    aws: Session,
    make_function: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., Any],
) -> None:
    monkeypatch.setattr("pixloop.aws.rehearsal.lambdas.RETRY_DELAYS_S", (0.01, 0.01))
    notes = tmp_path / "notes"
    make_function(
        "later",
        source(f"""
            def handler(event, context):
                with open({str(notes)!r}, "a") as file:
                    file.write(event + "\\n")
                if event == "bad":
                    raise ValueError("never")
        """),
    )
    for event in ("bad", "good"):
        assert invoke(aws, "later", event, InvocationType="Event") == (None, None)
    until(lambda: notes.exists() and notes.read_text().count("bad") == 3)
    until(lambda: notes.read_text().count("good") == 1)


def test_an_image_runs_in_this_environment(
    aws: Session, role: str, lambdas: Lambdas, tmp_path: Path
) -> None:
    (tmp_path / "lambdas" / "of_image.py").write_text(
        "import pixloop, numpy\ndef handler(event, context):\n    return pixloop.__version__\n"
    )
    aws.client("lambda").create_function(
        FunctionName="server",
        Role=role,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/pixloop:1"},
        ImageConfig={"Command": ["of_image.handler"]},
        Timeout=20,
    )
    answer, kind = invoke(aws, "server")
    assert kind is None, answer
    assert answer == __import__("pixloop").__version__


def test_all_processes_end_with_it(aws: Session, make_function: Make, lambdas: Lambdas) -> None:
    make_function("echo", ECHO)
    invoke(aws, "echo")
    (pid,) = lambdas.processes("echo")
    lambdas.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
