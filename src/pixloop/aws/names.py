"""What everything of a project is called on AWS, in one place.

Names follow from the project's name alone, so that commands, templates and functions agree. A name
too long for its service is cut and ends in a hash of the whole.
"""

import hashlib
from dataclasses import dataclass

#: CloudWatch's namespace for metrics of pixloop; their dimension is ``Project``.
NAMESPACE = "pixloop"

#: The Lambda functions, each a module of ``pixloop.aws.functions``, by the stack that has it.
LEARNING_FUNCTIONS = ("start_run",)
SERVING_FUNCTIONS = (
    "serialize",
    "classify",
    "filter_sure",
    "answer_upload",
    "on_approved",
    "on_deployed",
)

#: Folders of the learning stack's bucket.
RAW, ANNOTATIONS, CHAMPION = "raw", "annotations", "champion"
#: Folders of the serving stack's bucket.
INCOMING, ANSWERS, INLINE, CAPTURE = "in", "out", "inline", "capture"


@dataclass(frozen=True)
class Names:
    """The names of one project's things; ``project`` is ``Config.name``."""

    project: str

    @property
    def learning_stack(self) -> str:
        """CloudFormation's name of the stack that learns."""
        return self._name("learning", 100)

    @property
    def serving_stack(self) -> str:
        """CloudFormation's name of the stack that serves."""
        return self._name("serving", 100)

    @property
    def network_stack(self) -> str:
        """CloudFormation's name of the stack of VPC endpoints, which not everybody has."""
        return self._name("network", 100)

    @property
    def page_stack(self) -> str:
        """CloudFormation's name of the stack of the Try page, which not everybody has."""
        return self._name("page", 100)

    def page(self, region: str) -> str:
        """What CloudFront, which knows no regions, calls what belongs to the page."""
        return self._name(f"page-{region}", 64)

    @property
    def pipeline(self) -> str:
        """The SageMaker pipeline."""
        return self._name("", 80)

    @property
    def endpoint(self) -> str:
        """The SageMaker endpoint; its configurations and models add a dash and a hash."""
        return self._name("", 50)

    @property
    def server_function(self) -> str:
        """The Lambda function that serves the model."""
        return self._name("server", 60)

    @property
    def rekognition(self) -> str:
        """The project in Rekognition Custom Labels."""
        return self._name("", 100)

    @property
    def schedule(self) -> str:
        """EventBridge Scheduler's, which stops what runs at Rekognition."""
        return self._name("stop", 64)

    @property
    def state_machine(self) -> str:
        """The Step Functions state machine: serialize, classify, filter."""
        return self._name("workflow", 80)

    @property
    def dashboard(self) -> str:
        """The CloudWatch dashboard."""
        return self._name("", 100)

    def function(self, module: str) -> str:
        """The Lambda function whose code is ``pixloop.aws.functions.<module>``.

        >>> Names("vehicles").function("start_run")
        'pixloop-vehicles-start-run'
        """
        return self._name(module.replace("_", "-"), 64)

    def queue(self, purpose: str) -> str:
        """An SQS queue: ``pictures``, ``review``, ``triggers``, or one of these with ``-dead``."""
        return self._name(purpose, 80)

    def alarm(self, what: str) -> str:
        """A CloudWatch alarm: ``errors``, ``latency``, ``drift``, ``dead-letters`` …."""
        return self._name(what, 100)

    def role(self, purpose: str) -> str:
        """An IAM role whose name is needed before it exists: ``execution``, ``server``."""
        return self._name(f"{purpose}-role", 64)

    @property
    def repository(self) -> str:
        """The ECR repository of the project's image."""
        return self._name("", 100).lower()

    def bucket(self, purpose: str, account: str, region: str) -> str:
        """An S3 bucket of one of the stacks: ``data``, ``pictures``, ``logs``, ``page``."""
        return self._name(f"{purpose}-{account}-{region}", 63).lower()

    @property
    def prefix(self) -> str:
        """What the names of functions, rules, alarms begin with, those that are cut included.

        >>> Names("vehicles").prefix
        'pixloop-vehicles-'
        """
        return f"pixloop-{self.project}-"[:40]

    def _name(self, part: str, limit: int) -> str:
        name = "-".join(filter(None, ["pixloop", self.project, part]))
        if len(name) <= limit:
            return name
        mark = hashlib.sha256(name.encode()).hexdigest()[:6]
        room = limit - len(mark) - 1 - (len(part) + 1 if part else 0)
        cut = f"pixloop-{self.project}"[:room].rstrip("-")
        return "-".join(filter(None, [cut, mark, part]))
