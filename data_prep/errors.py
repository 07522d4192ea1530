"""The one error a command of this package reports without a traceback."""


class DataError(ValueError):
    """Data cannot be used; the message names the file and the value, and says what to do."""


class AnnotationError(DataError):
    """An annotation file cannot be used."""
