"""A project's verbs on AWS: what ``Project.on_aws`` gives. Each is a few lines over its room."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pixloop.acceptance import Acceptance
from pixloop.aws.cost.estimate import Estimate, estimate, find_durations
from pixloop.aws.cost.prices import read_prices
from pixloop.aws.cost.running import RunningCosts, running_costs
from pixloop.aws.cost.serving import Traffic
from pixloop.aws.deployments import Deployments
from pixloop.aws.image import Accelerator, build_image, gather_context, name_image, push_image
from pixloop.aws.infrastructure.cloudformation import OnEvent, stack_parameters
from pixloop.aws.infrastructure.code_bucket import CodeBucket, partition
from pixloop.aws.infrastructure.deploy import deploy_stacks
from pixloop.aws.infrastructure.github import github_role, github_workflow
from pixloop.aws.infrastructure.parameters import Options, Place
from pixloop.aws.infrastructure.status import Status, read_status
from pixloop.aws.infrastructure.teardown import destroy_stacks
from pixloop.aws.monitoring import look_on_sagemaker
from pixloop.aws.page import TryPage
from pixloop.aws.pipeline.executions import stop_execution
from pixloop.aws.pipeline.model_packages import PackageRegistry
from pixloop.aws.pipeline.run import follow_on_sagemaker, run_on_sagemaker
from pixloop.aws.rekognition.project import RekognitionProject
from pixloop.aws.resources import Resources, find_resources
from pixloop.aws.session import Session
from pixloop.bundle import Bundle
from pixloop.config import Config
from pixloop.data.dataset import MANIFEST as DATASET_MANIFEST
from pixloop.data.dataset import DatasetInfo
from pixloop.errors import AwsError
from pixloop.monitoring.look import Look
from pixloop.pipeline.display import Listener
from pixloop.pipeline.runs import RunRecord, list_runs
from pixloop.run_summary import RunSummary, output_of

#: What a run is taken to work on where there has been none.
ASSUMED_PICTURES = 1000
#: Of the 4 KB that Lambda gives to all variables of a function together.
MAX_THRESHOLD_CHARACTERS = 2500


class AwsProject:
    """One project, seen from AWS."""

    def __init__(
        self,
        config: Config,
        state: Path,
        commit: str,
        find_bundle: Callable[[str], tuple[str, Bundle]],
    ) -> None:
        """Use ``Project.on_aws``. AWS is asked nothing before it must be.

        Args:
            config: the project's.
            state: its ``.pixloop`` folder.
            commit: the git commit that it is at, or nothing.
            find_bundle: a version of the registry here → its number and its bundle.
        """
        self.config, self.state, self.commit = config, state, commit
        self._find_bundle = find_bundle

    @cached_property
    def session(self) -> Session:
        """Clients for ``aws.region``."""
        return Session(self.config.aws.region)

    @property
    def resources(self) -> Resources:
        """What the project has on AWS now."""
        return find_resources(self.session, self.config)

    @cached_property
    def rekognition(self) -> RekognitionProject:
        """The versions of Rekognition Custom Labels."""
        return RekognitionProject(self.session, self.config, self.state)

    @property
    def registry(self) -> PackageRegistry:
        """The versions in SageMaker's model registry."""
        return PackageRegistry(self.session, self._place.group)

    def monitor(self, version: str | None = None) -> Look:
        """Look at what the endpoint captured, and tell CloudWatch; see ``look_on_sagemaker``."""
        number, bundle = self._find_bundle(version or "champion")
        [bucket] = self.resources.need("pictures_bucket")
        return look_on_sagemaker(self.session, bucket, self.config, self.state, number, bundle)

    # ---- the pipeline

    def run(
        self,
        train: str | Path,
        test: str | Path | None,
        weights: Path | None,
        tune: bool,
        listener: Listener | None,
    ) -> RunSummary:
        """Run the pipeline on SageMaker and follow it; see ``run_on_sagemaker``."""
        return run_on_sagemaker(
            self.config,
            self.state,
            train=train,
            test=test,
            weights=weights,
            commit=self.commit,
            tune=tune,
            listener=listener,
            session=self.session,
        )

    def follow(self, execution: str, listener: Listener | None) -> RunSummary:
        """Follow an execution that is at work, or was, by its ARN."""
        self.session.account()  # following is patient, which is in vain without credentials
        return follow_on_sagemaker(
            self.config, self.state, execution, listener=listener, session=self.session
        )

    def stop(self, execution: str) -> None:
        """Stop an execution, by its ARN."""
        stop_execution(self.session, execution)

    # ---- stacks, image, money

    def deploy_stacks(
        self,
        on_event: OnEvent,
        options: Mapping[str, str | None] | None = None,
        vpc_endpoints: bool = False,
    ) -> dict[str, str]:
        """Make or change the two stacks; their outputs. ``options`` are those of ``Options``."""
        return deploy_stacks(
            self.session,
            self.config,
            on_event=on_event,
            options=Options(**(options or {})),  # type: ignore[arg-type]  # the texts among them
            commit=self.commit,
            vpc_endpoints=vpc_endpoints,
        )

    def let_rekognition_answer(
        self, on_event: OnEvent, version_arn: str = "", acceptance: Acceptance | None = None
    ) -> None:
        """Let the queue and the workflow ask a running version; without one, the deployed model.

        Raises:
            AwsError: the thresholds of the classes are too long for a function's environment.
        """
        threshold = (acceptance or Acceptance()).to_text()
        if len(threshold) > MAX_THRESHOLD_CHARACTERS:
            raise AwsError(
                f"the thresholds of the classes take {len(threshold):,} characters, a function's "
                f"environment has {MAX_THRESHOLD_CHARACTERS:,} for them. One threshold for all "
                "fits: set thresholds.by to 'all' and start a version that has none noted yet."
            )
        before = stack_parameters(self.session, self._place.names.serving_stack)
        if before.get("RekognitionVersion", "") != version_arn:
            options = {
                "rekognition_version": version_arn,
                "rekognition_threshold": threshold,
            }
            self.deploy_stacks(on_event, options)

    def destroy_stacks(self, on_event: OnEvent, keep_data: bool = True) -> list[str]:
        """Remove what pixloop made; what remains, a line each."""
        return destroy_stacks(self.session, self.config, keep_data=keep_data, on_event=on_event)

    def status(self) -> Status:
        """What there is, what waits, and what is wrong."""
        return read_status(self.session, self.config)

    def running_costs(self, prices: Path | None = None) -> RunningCosts:
        """What runs and costs by the hour now."""
        return running_costs(self.session, self.config, read_prices(prices))

    def estimate(
        self, pictures: int | None, requests_per_day: float, prices: Path | None = None
    ) -> Estimate:
        """What a run and a month will cost; AWS is not asked.

        Args:
            pictures: how many a run works on; by default as many as the last run, or
                ``ASSUMED_PICTURES`` where there has been none.
            requests_per_day: pictures to be answered.
            prices: a price table other than pixloop's.
        """
        runs = list_runs(self.state)
        return estimate(
            self.config,
            read_prices(prices),
            pictures=count_pictures(runs) if pictures is None else pictures,
            durations=find_durations(runs),
            traffic=Traffic(requests_per_day=requests_per_day),
        )

    def build_image(
        self,
        accelerator: Accelerator,
        tool: str | None = None,
        build_arguments: Mapping[str, str] | None = None,
        push: bool = True,
    ) -> str:
        """Build the image and push it to the project's repository; its address."""
        # Asked first: a build takes minutes.
        repository = self.resources.need("repository")[0] if push else ""
        tag = name_image(accelerator, datetime.now(UTC))
        with gather_context() as root:
            told = {"COMMIT": self.commit, **(build_arguments or {})}
            build_image(root, tag, accelerator, tool, told)
        return push_image(self.session, repository, tag, tool) if push else tag

    def github_workflow(self, branch: str | None = None, role: str | None = None) -> str:
        """The GitHub Actions workflow that builds and deploys at a commit.

        Args:
            branch: whose commits; without one, the branch that the stack's role trusts.
            role: the ARN of the role to assume; without one, AWS is asked for the stack's.

        Raises:
            AwsError: the learning stack trusts no repository yet, or another branch.
        """
        if not role:
            role, trusted = github_role(self.session, self._place.names.learning_stack)
            if branch not in (None, trusted):
                raise AwsError(
                    f"The learning stack's role trusts the branch {trusted}, not {branch}: "
                    f"'pixloop aws deploy --github-branch {branch}' changes that."
                )
            branch = trusted
        return github_workflow(self.config, role, branch or "main")

    @property
    def deployments(self) -> Deployments:
        """What serves, and what is to."""
        return Deployments(self._place, self.session, self.registry, self.state, self._find_bundle)

    @property
    def page(self) -> TryPage:
        """The exported Try page, on S3 and CloudFront."""
        return TryPage(self._place, self.session, self.registry, self.state, self._find_bundle)

    @cached_property
    def _place(self) -> Place:
        session = self.session
        code = CodeBucket(session)
        return Place(self.config, session.account(), partition(session), code.name)


def count_pictures(runs: Sequence[RunRecord]) -> int:
    """How many pictures the newest run that prepared any has kept; without one, an assumption."""
    for run in runs:
        file = output_of(run, "Prepare", "dataset") / DATASET_MANIFEST
        if file.is_file():
            info = DatasetInfo.model_validate_json(file.read_text(encoding="utf-8"))
            return sum(shard.rows for shard in info.shards)
    return ASSUMED_PICTURES
