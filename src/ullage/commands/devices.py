"""``ullage devices``: what this machine has, and which cards are known."""

from ullage.catalog import devices as catalogue
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.hyperparameters import Json
from ullage.domain.machine import Device
from ullage.ports import World
from ullage.report import document as doc
from ullage.report.origin import said
from ullage.units import format_bytes, format_gib

_CARDS = (
    doc.Column("device"),
    doc.Column("kind"),
    doc.Column("label GB", is_number=True),
    doc.Column("low", is_number=True),
    doc.Column("reported", is_number=True),
    doc.Column("high GiB", is_number=True),
    doc.Column("source"),
)
_HERE = (
    doc.Column("id"),
    doc.Column("kind"),
    doc.Column("total", is_number=True),
    doc.Column("in use", is_number=True),
    doc.Column("name"),
)


def _here(device: Device) -> dict[str, Json]:
    return {
        "id": device.id,
        "kind": device.kind,
        "name": device.name,
        "total_bytes": device.total_bytes,
        "reserved_bytes": device.reserved_bytes,
    }


def _known(model: catalogue.DeviceModel) -> dict[str, Json]:
    return {
        "name": model.name,
        "kind": model.kind,
        "nominal_gb": model.nominal_gb,
        "total_bytes": {"low": model.low_bytes, "expected": model.reported_bytes, "high": model.high_bytes},
        "compute_capability": list(model.compute_capability) if model.compute_capability else None,
        "source": said(model.source),
    }


def _row(model: catalogue.DeviceModel) -> tuple[str, ...]:
    sizes = (format_gib(model.low_bytes), format_gib(model.reported_bytes), format_gib(model.high_bytes))
    return (model.name, model.kind, str(model.nominal_gb), *sizes, said(model.source))


def run(flags: Flags, world: World) -> Answer:
    """This machine's devices and the catalogue, or one card of it. Raises InputError for a card that is not known."""
    word = flags.text("word")
    if word is not None and word.lower() != "local":
        local: tuple[Device, ...] = ()
        known: tuple[catalogue.DeviceModel, ...] = (catalogue.find(word),)
    else:
        local = (*world.hardware.devices(), world.hardware.host())
        known = () if word is not None else catalogue.devices()
    if flags.flag("json"):
        values: dict[str, Json] = {"schema": "ullage.devices/1", "local": [_here(device) for device in local]}
        return Answer(0, json={**values, "known": [_known(model) for model in known]})
    rows = tuple((d.id, d.kind, format_bytes(d.total_bytes), format_bytes(d.reserved_bytes), d.name) for d in local)
    here = (doc.Heading("This machine"), doc.Table(_HERE, rows)) if local else ()
    cards = (doc.Heading("Known cards"), doc.Table(_CARDS, tuple(_row(model) for model in known))) if known else ()
    return Answer(0, document=(*here, *cards))


VERB = Verb(
    name="devices",
    help="Say what this machine has and which cards are known.",
    run=run,
    options=(Option("json", "flag", "Answer as JSON."),),
    argument=Argument("word", "maybe", "One card, or local for this machine only."),
)
