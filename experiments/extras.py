"""Packages that only some commands need: imported when first wanted."""

import importlib
from typing import Any


class MissingExtraError(ValueError):
    """A package that is not installed; the message says how to install it."""


def require(module: str, group: str) -> Any:
    """Import an optional package.

    Args:
        module: what to import.
        group: the dependency group of this project that brings it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module.partition('.')[0]} is not installed ({error}); install it with: pip install --group {group}"
        ) from error
