"""pixloop closes the loop on image models: train, prove, serve, watch, ask people, retrain."""

from importlib.metadata import version

__version__ = version("pixloop")
