"""One job on several devices at once: one result each, and a device that is lost loses nobody else's."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import Field

from edgekd.bundle import Manifest
from edgekd.devices import Device, open_device, transport_of
from edgekd.errors import BadInputError, EdgekdError
from edgekd.measure.provision import provision
from edgekd.needs import Needs
from edgekd.progress import SILENT, Reporter, Tracker
from edgekd.reading import read_toml
from edgekd.runtimes import find_needs
from edgekd.schema import Schema

Result = TypeVar("Result")
Job = Callable[[Device], Result]
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # one kernel, one id: by it two names of a machine are one


class Member(Schema):
    """A device, and the machine that it shares with others where that does not show by itself, as with emulators.

    `provision`: what its Python lacks is installed there.
    """

    uri: str
    host: str | None = None
    provision: bool = False


class Fleet(Schema):
    """`[[devices]]` of a fleet.toml."""

    devices: tuple[Member, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a device gave, or why it gave nothing."""

    uri: str
    result: Result | None = None
    error: EdgekdError | None = None


@dataclass(frozen=True)
class _Call:
    """A device that answered, with the machine it stands on, or did not."""

    member: Member
    device: Device | None = None
    host: str = ""
    error: EdgekdError | None = None


def parse_devices(uris: Sequence[str] = (), fleet: Path | None = None, provision: bool = False) -> tuple[Member, ...]:
    """The devices that were named, `local:` if none was; BadInputError for an unknown transport or one named twice.

    `provision` asks for that on all of them.
    """
    named = [Member(uri=uri) for uri in uris]
    members = [*named, *(Fleet.parse(read_toml(fleet), str(fleet)).devices if fleet else ())]
    if provision and not members:
        raise BadInputError("--provision is for devices: name one by --device")
    members = [member.model_copy(update={"provision": True}) for member in members] if provision else members
    for place, member in enumerate(members):
        transport_of(member.uri)
        if member.uri in (other.uri for other in members[:place]):
            raise BadInputError(f"device {member.uri} is named twice")
    return tuple(members) or (Member(uri="local:"),)


def needs_of(bundles: Iterable[Manifest], options: Mapping[str, object] | None = None) -> list[Needs]:
    """What runs bundles with their runtime options, and with those that are given."""
    found: list[Needs] = []
    for manifest in bundles:
        needs = find_needs(manifest.backend, manifest.runtime | dict(options or {}))
        found += [] if needs in found else [needs]
    return found


def on_each(
    members: Sequence[Member],
    job: Job[Result],
    reporter: Reporter = SILENT,
    timed: bool = False,
    needs: Collection[Needs] = (),
) -> list[Outcome[Result]]:
    """Run a job on all devices at once, in the order of `members`; `timed` ones that share a machine go in turn.

    Those to be provisioned get what is needed.

    Nothing starts before all have been called, so that no login disturbs a timing. Whatever ends this, Ctrl-C too,
    ends what runs on the devices and removes their folders.
    """
    pool = ThreadPoolExecutor(len(members))
    calls = [pool.submit(_call, member, needs, reporter) for member in members]
    try:
        groups: dict[str, list[_Call]] = defaultdict(list)
        for call in (call.result() for call in calls):
            groups[call.host if timed and call.device else call.member.uri].append(call)
        voice = reporter if len(members) > 1 else SILENT  # one device's error is for the caller to tell
        turns = [pool.submit(_take_turns, group, job, voice) for group in groups.values()]
        outcomes = {outcome.uri: outcome for turn in turns for outcome in turn.result()}
        return [outcomes[member.uri] for member in members]
    finally:
        for future in calls:
            future.add_done_callback(_hang_up)  # at once, or as soon as a device that is being called answers
        pool.shutdown()


def raise_if_all_failed(outcomes: list[Outcome[Result]]) -> list[Outcome[Result]]:
    """Outcomes of which one at least is no failure; raises the first error otherwise."""
    first = outcomes[0].error
    if first is not None and all(outcome.error for outcome in outcomes):
        raise first
    return outcomes


class SharedProgress(Reporter):
    """For devices that are at work at the same time: whatever they track moves the one bar that all share."""

    def __init__(self, bar: Tracker) -> None:
        super().__init__(quiet=True)
        self._bar = bar

    @contextmanager
    def track(self, title: str, total: int, done: int = 0) -> Iterator[Tracker]:
        """The bar; its total is known already."""
        yield self._bar


def _call(member: Member, needs: Collection[Needs], reporter: Reporter) -> _Call:
    device = None
    try:
        device = open_device(member.uri)
        if member.provision and provision(device, needs):
            reporter.say(f"{member.uri}: packages are installed for {device.python}")
        host = member.host or device.run(["cat", BOOT_ID], timeout=60).stdout.strip() or member.uri
    except EdgekdError as error:
        return _Call(member, device, error=error)
    return _Call(member, device, host)


def _take_turns(calls: Sequence[_Call], job: Job[Result], voice: Reporter) -> list[Outcome[Result]]:
    return [_visit(call, job, voice) for call in calls]


def _visit(call: _Call, job: Job[Result], voice: Reporter) -> Outcome[Result]:
    error = call.error
    if call.device is not None and error is None:
        try:
            return Outcome(call.member.uri, job(call.device))
        except EdgekdError as failure:
            error = failure
    named = call.member.uri in str(error)
    voice.say(str(error) if named else f"{call.member.uri}: {error}")
    return Outcome(call.member.uri, error=error)


def _hang_up(future: Future[_Call]) -> None:
    if not future.cancelled() and future.exception() is None and (device := future.result().device) is not None:
        device.close()
