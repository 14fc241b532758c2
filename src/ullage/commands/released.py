"""The release of the engine that is there: as its package says before it starts, and as its own log does after."""

from ullage.commands.question import parse_version
from ullage.commands.verb import Flags
from ullage.domain.case import Case, Version
from ullage.domain.engine import Engine, Profile
from ullage.domain.facts import Fact
from ullage.errors import InputError, UllageError, WorldError
from ullage.frozen import replace
from ullage.ports import World

_TOLD = ("version", "build")  # what engines call it in their logs


def installed(flags: Flags, world: World, engine: Engine, argv: tuple[str, ...]) -> Version | None:
    """The release of the engine that these words would start here; None where nothing tells, or it is written for elsewhere."""
    packages = engine.profile.distributions
    if not packages or flags.text("export") is not None:
        return None
    try:
        found = world.processes.find(argv, flags.text("engine_dir"))
    except WorldError:  # which is said when it is started
        return None
    return _read(world.processes.release(found[0], packages)) if found is not None else None


def as_installed(flags: Flags, engine: Engine, there: Version | None) -> Flags:
    """The words with the release that is installed here, where none was said and its rules are known."""
    if there is None or flags.text("engine_version") is not None or not is_planned_for(engine.profile, there):
        return flags
    return flags.with_(engine_version=str(there))


def told(fact: Fact) -> Version | None:
    """The release that a line of the engine's log says."""
    return _read(str(fact.value)) if fact.name in _TOLD else None


def _read(text: str) -> Version | None:
    try:
        version = parse_version(text)
    except InputError:
        return None
    return version if any(version.parts) else None  # a build of no release calls itself 0


def is_planned_for(profile: Profile, version: Version) -> bool:
    """Whether the rules of that release are known."""
    return profile.oldest <= version <= profile.newest


def differs(profile: Profile, there: Version, planned: Version) -> str:
    """What to say where the engine that is there is another release than the one that is planned; empty where it is not."""
    if there == planned:
        return ""
    said = f"{profile.title} {there} is what starts here, and it is planned as {planned}"
    if is_planned_for(profile, there):
        return f"{said}: --engine-version {there} plans by its own rules"
    return f"{said}, as the rules of {there} are not known"


def as_told(engine: Engine, case: Case, release: Version | None) -> Case:
    """The case with the release that its engine turned out to be, where the rules of that are known and have an answer to it."""
    if release is None or release == case.version or not is_planned_for(engine.profile, release):
        return case
    found = replace(case, version=release)
    try:
        engine.ledger(engine.resolve(found))
    except UllageError:
        return case
    return found


def driver_of(world: World, case: Case) -> str:
    """The release of the driver of the devices that a case uses; empty for a processor, and where nobody tells."""
    ids = {device.id for device in case.devices if device.kind != "cpu"}
    if not ids:
        return ""
    try:
        return next((seen.driver for seen in world.meters.devices(world.meters.now()) if seen.device in ids), "")
    except WorldError:
        return ""
