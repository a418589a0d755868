"""What can go wrong, by exit code; every message is one line that a user can act on."""

from collections.abc import Mapping, Sequence
from shlex import quote


class EdgekdError(Exception):
    """A failure with an exit code of its own; shown as one line after its `label`, without a traceback.

    `hint` is the command to type next, where the place that failed knows a better one than `next_step` does.
    """

    exit_code, label = 70, "error"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PromiseBrokenError(EdgekdError):
    """Parity, a budget or a comparison did not hold."""

    exit_code = 1


class BadInputError(EdgekdError):
    """The user's recipe, file or model cannot be used as it is; `located` where its words need no file before."""

    exit_code, located = 2, False

    def locate(self, path: object) -> None:
        """Let its words begin with the file."""
        told = str(self.args[0])
        if not self.located and not told.startswith(str(path)):
            self.args = (f"{path}: {told}",)
        self.located = True


class RefusedByTargetError(BadInputError):
    """A target's backend does not take a model that other targets, `takers`, take."""

    def __init__(self, why: str, takers: Sequence[str]) -> None:
        super().__init__(why, hint=f"edgekd export MODEL --target {takers[0]}")
        self.takers, self.written = takers, dict[str, str]()

    def beside(self, bundles: Mapping[str, str]) -> None:
        """Advise no target for which there is a bundle already, by its name."""
        self.written = {taker: bundles[taker] for taker in self.takers if taker in bundles}
        if self.written:
            self.hint = f"edgekd bench {quote(next(iter(self.written.values())))}"

    def __str__(self) -> str:
        if self.written:
            return f"{super().__str__()}; it was exported for {', '.join(self.written)}"
        return f"{super().__str__()}; these targets take it: {', '.join(self.takers)}"


class NetworkError(BadInputError):
    """A network of the user's fails on its inputs; the cause is what it raised."""

    located = True


class UnfitInputsError(BadInputError):
    """A model that runs cannot run on what it was given."""


class DamagedError(BadInputError):
    """A file of edgekd's own is not what was written."""

    located = True

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} is damaged")


class DiskFullError(EdgekdError):
    """There is no room for a file; what was written before is whole."""

    exit_code = 2


class NothingToGainError(BadInputError):
    """A precision that would leave a model as it is."""

    located = True


class DeviceError(EdgekdError):
    """A device or a runtime cannot do what was asked; the kinds below say when it is the way to it that failed."""

    exit_code = 3


class DeviceNotFoundError(DeviceError):
    """Nobody goes by this name: an unknown host, a serial number that is not attached."""


class DeviceOfflineError(DeviceError):
    """The device is known but does not answer: refused, unreachable, switched off."""


class DeviceUnauthorizedError(DeviceError):
    """The device and this machine do not trust each other: a wrong key, an unknown or changed host key."""


class DeviceTimeoutError(DeviceError):
    """No answer within the time that was given; what ran there was ended."""


class DeviceLostError(DeviceError):
    """The connection broke while the device was in use."""


class MissingRuntimeError(DeviceError):
    """The device has no runtime for this bundle; the message says how to get one."""


class NotProvenError(EdgekdError):
    """What was asked for is there, but nothing could prove it here: no runtime, or no case that can tell."""

    exit_code, label = 4, "not proven"


class FallbackError(EdgekdError):
    """Another precision than int8 was written, since int8 came not near enough to float."""

    exit_code, label = 4, "fallback"


class MissingExtraError(EdgekdError):
    """A vendor SDK is not installed here."""

    exit_code = 3

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs an optional dependency: pip install 'edgekd[{extra}]'")
        self.extra = extra
