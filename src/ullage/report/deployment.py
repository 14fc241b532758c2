"""What another runner has to know to run an engine: the planned command and what it needs of a machine."""

from ullage.domain.engine import Profile, Server
from ullage.domain.ledger import Purpose
from ullage.domain.machine import HOST
from ullage.domain.plan import Command, Plan
from ullage.errors import InputError
from ullage.frozen import dataclass, replace
from ullage.planning.launch import LOCAL, listen
from ullage.units import GiB, MiB

_START_SECONDS = 3600
_BYTES_A_SECOND = 200 * MiB  # of weights from a slow disk, which a start must be given time for
_SHARED_BASE, _SHARED_RANK = 1 * GiB, 1 * GiB
MODELS = "/models"  # inside a container
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container, whose port is published to one address


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A command and its surroundings. Sizes are bytes; ``devices`` are of one ``kind``; None where nobody said."""

    name: str
    title: str
    command: Command  # as it runs on a machine that has the engine
    inside: Command  # as it runs in a container
    server: Server
    host: str
    port: int
    kind: str
    devices: int
    tensor: int
    pipeline: int
    data: int
    model_path: str  # a folder or file of this machine that has to be seen inside; empty for a published name
    model_bytes: int = 0
    wanted: tuple[str, ...] = ()  # files and folders that have to be put into ``MODELS`` first, as the engine fetches none
    image: str = ""
    package: str = ""  # what installs the engine
    shared_bytes: int = _SHARED_BASE
    host_bytes: int | None = None
    start_seconds: int = _START_SECONDS
    nodes: int = 1

    @property
    def is_fetched(self) -> bool:
        """Whether the engine gets the model from the hub."""
        return not self.model_path and not self.wanted

    @property
    def request_bytes(self) -> int:
        """Of host memory: what the plan says, else a device's share of the files, which pass through it."""
        return self.shared_bytes + self.model_bytes // max(1, self.devices) if self.host_bytes is None else self.host_bytes

    def head(self, folder: str) -> str:
        """The comment above a file: what it is, and what has to be put into ``folder`` first."""
        return f"{self.title}\nPut into {folder} before it starts: {', '.join(self.wanted)}" if self.wanted else self.title


def deployment(
    profile: Profile, server: Server, command: Command, plan: Plan | None, where: tuple[str, int], said: tuple[str | None, int | None]
) -> Deployment:
    """What the plan says of it; ``where`` is the address callers come to, ``said`` an image and a number of machines. Raises InputError."""
    if plan is None:
        raise InputError("only what could be planned can be exported: give a model, or a command whose model is here")
    case = plan.case
    devices = case.devices
    kind = devices[0].kind if devices else "cpu"
    (host, port), (image, nodes) = where, said
    version = str(case.version)
    known = dict(server.images).get(kind, "").format(version=version)
    path = case.model.path
    shared = _SHARED_BASE + _SHARED_RANK * (max(1, case.parallel.devices) - 1)
    wanted = _wanted(command, server, case.model.name, path, is_fetched=profile.fetches)
    inside = listen(command, server, _EVERYWHERE, port)
    words = tuple(f"{MODELS}/{word}" if word in wanted else word for word in inside.argv)
    told = (server.folder_flag, MODELS) if wanted and server.folder_flag else ()
    return Deployment(
        name=_name(f"{profile.name}-{case.model.name.rsplit('/', 1)[-1]}"),
        title=f"{profile.title} {version}: {case.model.name}, planned by ullage",
        command=command,
        inside=replace(inside, argv=(*(words if not server.folder_flag else inside.argv), *told)),
        server=server,
        host=LOCAL if host in {"", "localhost"} else host,
        port=port,
        kind=kind,
        devices=len(devices) if kind != "cpu" else 0,
        tensor=case.parallel.tensor,
        pipeline=case.parallel.pipeline,
        data=case.parallel.data,
        model_path=path if path.startswith("/") else "",
        model_bytes=case.model.checkpoint.nbytes,
        wanted=wanted,
        image=image or known,
        package=profile.package if " " not in profile.package else "",
        shared_bytes=shared,
        host_bytes=_host_bytes(plan, shared),
        start_seconds=max(600, 300 + case.model.checkpoint.nbytes // _BYTES_A_SECOND),
        nodes=nodes or 1,
    )


def _wanted(command: Command, server: Server, model: str, path: str, *, is_fetched: bool) -> tuple[str, ...]:
    """What the command names by its place in a folder of its own, or the model where the engine looks for it in one."""
    if server.folder_flag or not is_fetched:
        return () if path.startswith("/") else (model,)
    return tuple(word for word in command.argv if word.endswith(".gguf") and not word.startswith(("-", "/")))


def needs_image(deployment: Deployment) -> str:
    """The container image. Raises InputError where none is known."""
    if not deployment.image:
        built = f"build one from a Python image with `RUN pip install '{deployment.package}'` and " if deployment.package else ""
        if deployment.server.checkout:
            built = f"build one by docker/Dockerfile of `git clone {deployment.server.clone}` and "
        raise InputError(
            f"no container image is known for {deployment.title.partition(':')[0]} on {deployment.kind}: {built}give one with --image NAME"
        )
    return deployment.image


def _host_bytes(plan: Plan, shared: int) -> int | None:
    """What the plan says that the engine takes of the host at most, and shared memory; None where it says nothing of the host.

    The memory of a processor that computes is the host's.
    """
    places = dict.fromkeys((HOST, *(one.id for one in plan.case.devices if one.kind == "cpu")))
    found = [place for place in places if plan.ledger.on(place)]
    if not found:
        return None
    return shared + sum(plan.ledger.peak(place).high - plan.ledger.of(place, Purpose.OTHERS).expected for place in found)


def _name(text: str) -> str:
    """A name that every runner takes: small letters, digits and dashes, at most 52."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part)[:52].strip("-")
