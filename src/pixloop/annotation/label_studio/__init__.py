"""The real Label Studio: tasks there, the model's answers filled in, annotations here."""

from pixloop.annotation.label_studio.label_studio import LabelStudio, LabelStudioStatus
from pixloop.annotation.label_studio.sync import SyncSummary

__all__ = ["LabelStudio", "LabelStudioStatus", "SyncSummary"]
