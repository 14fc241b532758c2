"""A planned engine as a file for Docker Compose."""

from ullage.domain.hyperparameters import Json
from ullage.report.as_yaml import yaml_text
from ullage.report.deployment import MODELS, Deployment, needs_image

_PROBE = "import sys, urllib.request as u; sys.exit(u.urlopen('http://127.0.0.1:{port}{path}', timeout=9).status != 200)"
_GROUPS = {"rocm": ["video", "render"], "xpu": ["render"]}
_NODES = {"rocm": ["/dev/kfd", "/dev/dri"], "xpu": ["/dev/dri"]}


def compose_files(what: Deployment) -> tuple[tuple[str, str], ...]:
    """``compose.yaml`` and the files that the command needs. Raises InputError where no image is known."""
    token: dict[str, Json] = {"HF_TOKEN": None} if what.is_fetched else {}  # that of the shell, where it has one
    environment = {**token, **{name: _escaped(value) for name, value in what.inside.environment}}
    service: dict[str, Json] = {
        "image": needs_image(what),
        "entrypoint": [_escaped(word) for word in _words(what)],
        **({"environment": environment} if environment else {}),
        "ports": [f"{what.host}:{what.port}:{what.port}"],
        "volumes": list[Json](_volumes(what)),
        "shm_size": what.shared_bytes,
        **({"ulimits": {"memlock": -1}} if what.tensor > 1 else {}),
        **_devices(what),
        **({"mem_limit": what.host_bytes} if what.host_bytes is not None else {}),
        "healthcheck": {
            "test": ["CMD-SHELL", f'curl -fsS http://127.0.0.1:{what.port}{what.server.health} || python3 -c "{_probe(what)}"'],
            "interval": "10s",
            "timeout": "10s",
            "retries": 6,
            "start_period": f"{what.start_seconds}s",
        },
        "init": True,
        "stop_grace_period": "30s",
        "restart": "on-failure:5",
    }
    document: dict[str, Json] = {"name": what.name, "services": {"engine": service}, "volumes": {"models": None}}
    if what.wanted:
        del document["volumes"]
    return (("compose.yaml", yaml_text(document, head=what.head("./models"))), *what.inside.files)


def _probe(what: Deployment) -> str:
    return _PROBE.format(port=what.port, path=what.server.health)


def _words(what: Deployment) -> tuple[str, ...]:
    names = {name: f"/etc/ullage/{name}" for name, _ in what.inside.files}
    return tuple(names.get(word, word) for word in what.inside.argv)


def _volumes(what: Deployment) -> tuple[str, ...]:
    """The model where it lies here, a cache for what is fetched, and the command's own files."""
    model = (f"{what.model_path}:{what.model_path}:ro",) if what.model_path else ()
    models = f"./models:{MODELS}:ro" if what.wanted else "models:/root/.cache/huggingface"
    return (models, *model, *(f"./{name}:/etc/ullage/{name}:ro" for name, _ in what.inside.files))


def _devices(what: Deployment) -> dict[str, Json]:
    match what.kind:
        case "cuda":
            request: dict[str, Json] = {"driver": "nvidia", "count": what.devices, "capabilities": ["gpu"]}
            return {"deploy": {"resources": {"reservations": {"devices": [request]}}}}
        case "rocm" | "xpu":
            return {"devices": list[Json](_NODES[what.kind]), "group_add": list[Json](_GROUPS[what.kind])}
        case _:
            return {}


def _escaped(word: str) -> str:
    """A dollar is a variable there."""
    return word.replace("$", "$$")
