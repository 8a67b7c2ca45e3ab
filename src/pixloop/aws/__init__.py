"""The loop on AWS: the only room that imports boto3."""

from importlib.util import find_spec

from pixloop.errors import AwsError

# Functions bring botocore alone.
if find_spec("botocore") is None:
    raise AwsError(
        "AWS needs boto3, an extra: pip install 'pixloop[aws]' (in a checkout '.[aws]')."
    )
