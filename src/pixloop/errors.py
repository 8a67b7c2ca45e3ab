"""Every error pixloop raises on purpose, in one tree.

::

    PixloopError                 exit code 1
    ├── ConfigError        (2)   pixloop.yaml or --set: unknown key, wrong type, bad value
    ├── DataError                labels, formats and data sets
    │   ├── SourceError          a source cannot be fetched, extracted or trusted
    │   └── ImageError           one picture cannot be read
    │       └── ImageTooLarge    a decompression bomb, or more pixels than allowed
    ├── TrainingError            the model cannot be built or trained
    ├── ExportError              a graph cannot be written, or none agrees with the model
    ├── BundleError              a bundle is damaged, foreign or too new
    ├── RegistryError            an unknown version, or a registry that cannot be reached
    ├── ServingError             the server cannot start, or does not answer as it should
    │   └── RequestProblem       a request that gets no prediction (serving/problems.py)
    ├── MonitoringError          what was captured cannot be judged: no reference, no captures
    ├── AnnotationError          Label Studio, or the review queue, does not do what is asked
    ├── AwsError                 AWS refuses, cannot be reached, or lacks what is needed there
    │   ├── AwsUnreachable       nothing answers: no network, or a wrong region
    │   └── VerificationError    a deployment does not answer as its certificate says
    └── PipelineError            a step failed
        └── GateRefused    (3)   the model was trained and measured, and is not good enough

A message names the file, the key or the picture, says what was expected, and what to do.
Vendor errors are translated where they appear, with ``from e``.
"""


class PixloopError(Exception):
    """The root: everything pixloop raises on purpose.

    ``exit_code`` is what the ``pixloop`` command ends with when it meets the error.
    """

    exit_code = 1


class ConfigError(PixloopError):
    """pixloop.yaml, or a ``--set``, says something that cannot be."""

    exit_code = 2


class DataError(PixloopError):
    """Pictures, labels or a data set are not what they should be."""


class SourceError(DataError):
    """A data source cannot be fetched, extracted or trusted."""


class ImageError(DataError):
    """One picture cannot be read."""


class ImageTooLarge(ImageError):
    """A picture has more pixels than allowed."""


class TrainingError(PixloopError):
    """The model cannot be built or trained."""


class ExportError(PixloopError):
    """A graph cannot be written, or no graph agrees with the trained model."""


class BundleError(PixloopError):
    """A model bundle is damaged, foreign or written by a newer pixloop."""


class RegistryError(PixloopError):
    """A model version does not exist, or the registry cannot be reached."""


class ServingError(PixloopError):
    """The server cannot start, or does not answer as it should."""


class MonitoringError(PixloopError):
    """What was captured cannot be judged."""


class AnnotationError(PixloopError):
    """Label Studio cannot be started or asked, or the review queue lacks what is asked for."""


class AwsError(PixloopError):
    """AWS refuses, cannot be reached, or lacks what a command needs there."""


class AwsUnreachable(AwsError):
    """Nothing of AWS answers; asking on would take minutes and say the same."""


class VerificationError(AwsError):
    """A deployment does not answer as the certificate of its version says."""


class PipelineError(PixloopError):
    """A pipeline step failed; the message names the step and the cause."""


class GateRefused(PipelineError):
    """The model was trained and measured, and does not meet the gate."""

    exit_code = 3
