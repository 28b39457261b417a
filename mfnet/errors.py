"""The one exception for what comes from outside: files, parameters, the network."""


class UserError(Exception):
    """Something outside the program is wrong; the message is one line: what, where, what would be right."""
