"""What can go wrong with datasets, and the packages that they need."""

import importlib
from typing import Any


class DatasetError(ValueError):
    """A dataset, or a request for one, that can't be used; the message names what and what is expected."""


class CollectionError(RuntimeError):
    """Collecting stopped; what is complete is kept, and the same command continues."""


class VerificationError(RuntimeError):
    """A dataset that is not what it claims to be; the message names the first episode and step that differs."""


def require(module: str, extra: str) -> Any:
    """Import an optional package.

    Raises:
        DatasetError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DatasetError(
            f"{module.partition('.')[0]} is not installed ({error}); install it with: pip install -e '.[{extra}]'"
        ) from error
