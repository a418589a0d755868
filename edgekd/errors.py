"""What can go wrong, by exit code; every message is one line that a user can act on."""


class EdgekdError(Exception):
    """A failure with an exit code of its own; shown as one line, without a traceback."""

    exit_code = 70


class PromiseBrokenError(EdgekdError):
    """Parity, a budget or a comparison did not hold."""

    exit_code = 1


class BadInputError(EdgekdError):
    """The user's recipe, file or model cannot be used as it is."""

    exit_code = 2


class DeviceError(EdgekdError):
    """A device or a runtime was lost, or never answered."""

    exit_code = 3


class MissingExtraError(EdgekdError):
    """A vendor SDK is not installed here."""

    exit_code = 3

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs an optional dependency: pip install 'edgekd[{extra}]'")
        self.extra = extra
