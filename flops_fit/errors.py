"""Errors and warnings: each message states the value, the limit and the remedy."""


class FlopsFitError(Exception):
    """Base of every error this library raises on purpose."""


class StudyError(FlopsFitError, ValueError):
    """A study (or its `study.toml`) with a value outside its limits, or that contradicts itself."""


class SourceChanged(StudyError):
    """Source code that is another than what was imported, planned from or begun with."""


class ModelContractError(FlopsFitError, TypeError):
    """A model that cannot be counted or built as the study says."""


class DataError(FlopsFitError, ValueError):
    """A dataset that cannot be trained on, or not for so many tokens."""


class DataTypeError(DataError, TypeError):
    """Something that is no dataset at all."""


class OutOfData(DataError):
    """A training that needs more data than there is."""


class Diverged(FlopsFitError):
    """A loss that is no longer finite; the message names the step and the last finite loss."""


class TimedOut(FlopsFitError):
    """A training that took longer than it may."""


class Interrupted(FlopsFitError):
    """A training that was asked to stop, and saved how far it had come."""


class FailedOnRank(FlopsFitError):
    """A training on several processes that failed on one of them; every process raises it, with the same reason."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class LossError(FlopsFitError, TypeError):
    """A loss function that cannot be called as `loss_fn(outputs, targets)`."""


class MetricError(FlopsFitError, ValueError):
    """A metric that gave no number."""


class PlanError(FlopsFitError, ValueError):
    """Budgets or grid options that give no sensible plan."""


class ResultError(FlopsFitError, ValueError):
    """A result that contradicts itself, or has a value outside its limits."""


class FitError(FlopsFitError, ValueError):
    """Runs that no scaling law can be fitted to."""


class FileError(FlopsFitError, ValueError):
    """A file that is torn, foreign or of another version."""


class FlopsFitWarning(UserWarning):
    """Something that will not stop a study but may change what it is worth."""
