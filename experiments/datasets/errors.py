"""What can go wrong with datasets."""


class DatasetError(ValueError):
    """A dataset, or a request for one, that can't be used; the message names what and what is expected."""


class CollectionError(RuntimeError):
    """Collecting stopped; what is complete is kept, and the same command continues."""


class VerificationError(RuntimeError):
    """A dataset that is not what it claims to be; the message names the first episode and step that differs."""
