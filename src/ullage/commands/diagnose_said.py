"""The question behind a log whose engine tells it in lines of its own, without a command."""

from ullage.catalog.devices import lookup
from ullage.commands.question import Question, read_question
from ullage.commands.verb import Flags
from ullage.domain.case import Settings
from ullage.domain.cause import Log
from ullage.domain.engine import Engine, Request
from ullage.domain.placement import Parallel
from ullage.errors import InputError, UllageError
from ullage.frozen import replace
from ullage.planning.diagnose_facts import detail, figures_of
from ullage.planning.diagnose_said import card_said, models_said, settings_said
from ullage.ports import World
from ullage.units import format_bytes

# Where nobody tells the size, what does not depend on it is planned on devices so large that nothing is refused for want of room.
_ROOMY = "192GiB"


def with_said(engine: Engine, log: Log, request: Request | None) -> Request | None:
    """The request with the settings that the engine says they came to, where nothing else says them."""
    own = {knob.name for knob in engine.profile.knobs}
    known = dict(request.settings.items) if request is not None else {}
    said = {name: value for name, value in settings_said(log).items() if name in own and name not in known}
    if not said:
        return request
    if request is None:
        request = Request(
            engine=engine.profile.name, model=None, settings=Settings.of({}), parallel=Parallel(), environment=(), findings=()
        )
    return replace(request, settings=Settings.of({**said, **known}), stated=request.stated | frozenset(said))


def candidates(log: Log, flags: Flags, request: Request | None) -> tuple[tuple[str, str | None], ...]:
    """The model's name and scheme, as the options say it, as the command does, or as the engine names its file; the first that exists."""
    said, scheme = models_said(log), flags.text("quant")
    of_file = scheme or next((known for _, known in said if known is not None), None)
    word = flags.text("model")
    if word is not None:
        return tuple(dict.fromkeys(((word, of_file), (word, scheme))))
    named = ((request.model, scheme),) if request is not None and request.model else ()
    # Of a file whose scheme nobody tells, the name says nothing of what its weights take.
    return tuple(dict.fromkeys((*named, *((name, scheme or known) for name, known in said if scheme or known))))


def first_question(named: tuple[tuple[str, Flags], ...], world: World, engine: Engine, request: Request | None) -> Question:
    """The question about the first of these models that is known. Raises what is wrong with the first."""
    wrong: UllageError = InputError("nothing names the model: give --model")
    for index, (model, flags) in enumerate(named):
        try:
            return read_question(flags, world, engine, model, request)
        except UllageError as error:
            wrong = wrong if index else error
    raise wrong


def device_said(log: Log) -> str | None:
    """The card that the engine names, else a device of what was free at its start."""
    card = card_said(log)
    if card and lookup(card) is not None:
        return card
    free = next((detail(seen.fact, "device_free_bytes") for seen in log.sightings if seen.fact.name == "device_free_bytes"), None)
    return f"{free / (1 << 30):.4f}GiB" if free else None


def machine_said(log: Log, request: Request | None, notes: list[str]) -> str | None:
    """The devices as ``--gpu`` takes them: the sizes that the log reports, else the card it names."""
    count = request.parallel.devices if request is not None else 1
    total = figures_of(log).total_bytes
    one = f"{total / (1 << 30):.4f}GiB" if total is not None else log.card or device_said(log)
    if one is None:
        return None
    notes.append(f"the devices are taken from the log: {count} x {format_bytes(total) if total is not None else one}")
    return ",".join([one] * count)


def some_machine(request: Request | None) -> str:
    """Devices of any size, as ``--gpu`` takes them, for what does not depend on it."""
    return ",".join([_ROOMY] * (request.parallel.devices if request is not None else 1))
