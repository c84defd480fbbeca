"""Every error a user can meet. One clear sentence: what, where, remedy. No torch, no pyarrow.

KirokuError
├── UsageError (exit status 2: the words or files given are wrong)
│   ├── RecipeError         prep.toml or train.toml: unknown key, wrong type, no such value
│   ├── DatasetError        the folder is no dataset, or lacks what the command needs
│   └── QueryError          the site will not take this query
└── Failure (exit status 1: the words are right, the work could not be done)
    ├── SiteError           unreachable, refused, blocked, or answered nonsense
    ├── ModelError          a model file of another kind, broken, or not to be had
    ├── DataError           a table, manifest or latent that breaks its schema
    ├── DeviceError         the demanded device is not there
    └── DiskError           no space, no permission
"""


class KirokuError(Exception):
    """Base of all: its text is shown to the user as it stands, without a traceback."""

    exit_status = 1


class UsageError(KirokuError):
    """The words or files given are wrong; trying again unchanged cannot help."""

    exit_status = 2


class RecipeError(UsageError):
    """A recipe file has an unknown key, a wrong type or a value that is not to be had."""


class DatasetError(UsageError):
    """The folder is no dataset, or lacks what the command needs."""


class QueryError(UsageError):
    """The site will not take this query, or nothing answers to it."""


class Failure(KirokuError):
    """The request is right but the work could not be done."""


class SiteError(Failure):
    """The site is unreachable, refused us, or answered something that is not its API."""


class ModelError(Failure):
    """A model file is of another kind, broken, or not to be had."""


class DataError(Failure):
    """A table, a manifest or a latent breaks its schema."""


class DeviceError(Failure):
    """The demanded device is not there."""


class DiskError(Failure):
    """No space left, or no permission to write."""
