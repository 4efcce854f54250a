"""The one error that a script prints as a line instead of a traceback."""


class UserError(Exception):
    """An input that cannot be used; the message names it and says what to do."""


class DivergenceError(UserError):
    """A loss or a variable became NaN or infinite."""
