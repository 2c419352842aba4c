"""The errors that a person at a terminal is told, each in one line that says what to do."""


class ToolError(Exception):
    """Something that the user can put right: a wrong file, key, date or name. The text is shown as it is."""


class LinkError(Exception):
    """The link to a lock failed: it broke off, or an answer did not come in time."""


class KeyFileError(ToolError):
    """A key file is missing, of the wrong kind, or may not be overwritten."""


class TokenError(ToolError):
    """Not a token of SPEC.md section 2, or claims that no token may have."""


class ProvisionError(ToolError):
    """Not a provisioning record of SPEC.md section 5, or values that no record may have."""


class ConfigurationError(ToolError):
    """Not a configuration of SPEC.md section 6.1, or values that no lock would take."""


class TimeTextError(ToolError):
    """A date, duration, window or time zone that cannot be read."""
