"""The loop on AWS: the only room that imports boto3."""

from importlib.util import find_spec

from pixloop.errors import AwsError

# Other extras bring botocore alone. So do the packages of functions, which hold no command line
# and need no more.
if find_spec("boto3") is None and find_spec("pixloop.cli") is not None:
    raise AwsError(
        "AWS needs boto3, an extra: pip install 'pixloop[aws]' (in a checkout '.[aws]')."
    )
