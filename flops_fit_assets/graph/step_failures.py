"""How a step fails: in a line that says why and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import dagster as dg

from flops_fit.errors import FlopsFitError
from flops_fit_assets.automation.retries import still_to_come
from flops_fit_assets.instance.trouble import readable


@contextmanager
def failing_readably() -> Iterator[None]:
    """A `FlopsFitError` fails the step with its message alone, and is not tried again.

    Trouble of the machine (the disk, rights, a database) fails it with what to do; any other error goes on as it is.
    """
    try:
        yield
    except dg.Failure:
        raise
    except FlopsFitError as error:
        raise dg.Failure("; ".join([str(error), *getattr(error, "__notes__", ())]), allow_retries=False) from error
    except Exception as error:
        said = readable(error)
        if said is None:
            raise
        raise dg.Failure(said) from error


@contextmanager
def naming_what_is_to_come(instance: dg.DagsterInstance, missing: Iterable[str]) -> Iterator[None]:
    """A law that cannot be fitted without the trainings that are `missing` says which of them come by themselves.

    One whose process was killed counts as failed, for Dagster's automation, until it is started again seconds later.
    """
    try:
        yield
    except FlopsFitError as error:
        if names := still_to_come(instance, missing):
            error.add_note(f"{', '.join(names)} is still to come, and the law is fitted when it has")
        raise
