"""What jobs say of themselves: by moto's jobs and logs, and by answers as botocore shapes them."""

import time
from typing import Any

import pytest
from botocore.stub import Stubber

from pixloop.aws.pipeline.job_progress import Progress, read_progress
from pixloop.aws.session import Session

ACCOUNT = "arn:aws:sagemaker:eu-west-1:123456789012"
TRAINING = {"Metadata": {"TrainingJob": {"Arn": f"{ACCOUNT}:training-job/train-1"}}}
PROCESSING = {"Metadata": {"ProcessingJob": {"Arn": f"{ACCOUNT}:processing-job/prepare-1"}}}
TUNING = {"Metadata": {"TuningJob": {"Arn": f"{ACCOUNT}:hyper-parameter-tuning-job/tune-1"}}}


def log(session: Session, kind: str, stream: str, *lines: str) -> None:
    client, group = session.client("logs"), f"/aws/sagemaker/{kind}"
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    client.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": now + i, "message": line} for i, line in enumerate(lines)],
    )


def train(session: Session) -> None:
    session.client("sagemaker").create_training_job(
        TrainingJobName="train-1",
        AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/jobs",
        OutputDataConfig={"S3OutputPath": "s3://b/o"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )


def test_the_last_line_of_progress_is_told(aws: Session) -> None:
    train(aws)
    log(
        aws,
        "TrainingJobs",
        "train-1/algo-1-1700000000",
        "training: 17/180 epoch 1/10",
        "training: 34/180 epoch 2/10 loss 1.25",
        "a warning: 5 of them",
    )
    found = read_progress(aws, TRAINING)
    assert found == Progress("training", 34, 180, "epoch 2/10 loss 1.25")


def test_without_a_log_it_is_the_status(aws: Session) -> None:
    train(aws)
    assert read_progress(aws, TRAINING) == Progress("completed")


def test_a_processing_job_without_a_total(aws: Session) -> None:
    log(aws, "ProcessingJobs", "prepare-1/algo-1-1", "checking pictures: 300", " ")
    assert read_progress(aws, PROCESSING) == Progress("checking pictures", 300)


def test_a_search_counts_its_trainings(aws: Session) -> None:
    metric = {"MetricName": "f1_macro", "Value": 0.9123}
    answer: dict[str, Any] = {
        "HyperParameterTuningJobName": "tune-1",
        "HyperParameterTuningJobArn": f"{ACCOUNT}:hyper-parameter-tuning-job/tune-1",
        "HyperParameterTuningJobStatus": "InProgress",
        "CreationTime": 0,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
        },
        "TrainingJobStatusCounters": {"Completed": 3, "InProgress": 2, "NonRetryableError": 1},
        "ObjectiveStatusCounters": {},
        "BestTrainingJob": {
            "TrainingJobName": "t",
            "TrainingJobArn": f"{ACCOUNT}:training-job/t",
            "CreationTime": 0,
            "TrainingJobStatus": "Completed",
            "TunedHyperParameters": {},
            "FinalHyperParameterTuningJobObjectiveMetric": metric,
        },
    }
    request = {"HyperParameterTuningJobName": "tune-1"}
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_response("describe_hyper_parameter_tuning_job", answer, request)
        assert read_progress(aws, TUNING) == Progress("trainings", 4, 20, "best f1_macro 0.912")


@pytest.mark.parametrize("step", [{}, {"Metadata": {}}, TRAINING, PROCESSING, TUNING])
def test_what_cannot_be_known_is_no_error(aws: Session, step: dict[str, Any]) -> None:
    assert read_progress(aws, step) is None
