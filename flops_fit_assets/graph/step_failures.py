"""How a step fails: in a line that says why and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from flops_fit.errors import FlopsFitError
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
        raise dg.Failure(str(error), allow_retries=False) from error
    except Exception as error:
        said = readable(error)
        if said is None:
            raise
        raise dg.Failure(said) from error
