"""pixloop closes the loop on image models: train, prove, serve, watch, ask people, retrain."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pixloop")
except PackageNotFoundError:  # a few modules of it, in the package of a Lambda function
    __version__ = "0+unknown"
