"""The mistakes that a user can make and correct."""


class RecogniserError(Exception):
    """An exported folder, a clip or classes that will not do; the message says what would."""
