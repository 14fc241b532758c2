"""A planned engine as objects of Kubernetes."""

from ullage.domain.hyperparameters import Json
from ullage.errors import InputError
from ullage.report.as_yaml import yaml_text
from ullage.report.deployment import MODELS, Deployment, needs_image
from ullage.units import GiB

_RESOURCES = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu", "xpu": "gpu.intel.com/xe"}
_EVERY_SECONDS, _FAILURES = 10, 6


def k8s_files(what: Deployment) -> tuple[tuple[str, str], ...]:
    """``k8s.yaml``: a deployment of one replica, its service, and its files. Raises InputError for more than one machine."""
    if what.nodes > 1:
        raise InputError("one pod lies on one machine: use --export ray for several")
    objects = (*_claim(what), *_config(what), _deployment(what), _service(what))
    head = what.head(f"the volume {what.name}-models")
    texts = [yaml_text(one, head=head if index == 0 else "") for index, one in enumerate(objects)]
    return (("k8s.yaml", "---\n".join(texts)),)


def _labels(what: Deployment) -> dict[str, Json]:
    return {"app.kubernetes.io/name": what.name}


def _claim(what: Deployment) -> tuple[dict[str, Json], ...]:
    """Where the model stays when the pod starts anew; none where it lies on the machine."""
    if what.model_path:
        return ()
    spec: dict[str, Json] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _storage(what.model_bytes)}}}
    name: dict[str, Json] = {"name": f"{what.name}-models", "labels": _labels(what)}
    return ({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": name, "spec": spec},)


def _storage(model_bytes: int) -> str:
    """Whole GiB for the files, and a tenth more for what lies beside them."""
    return f"{-(-model_bytes * 11 // (10 * GiB))}Gi"


def _config(what: Deployment) -> tuple[dict[str, Json], ...]:
    if not what.inside.files:
        return ()
    data: dict[str, Json] = dict(what.inside.files)
    return ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": what.name, "labels": _labels(what)}, "data": data},)


def _deployment(what: Deployment) -> dict[str, Json]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": what.name, "labels": _labels(what)},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # two replicas do not fit on the devices of one
            "progressDeadlineSeconds": what.start_seconds + 600,
            "selector": {"matchLabels": _labels(what)},
            "template": {"metadata": {"labels": _labels(what)}, "spec": _pod(what)},
        },
    }


def _pod(what: Deployment) -> dict[str, Json]:
    volumes: list[Json] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": what.shared_bytes}},
        {"name": "models", **({"emptyDir": {}} if what.model_path else {"persistentVolumeClaim": {"claimName": f"{what.name}-models"}})},
    ]
    place = MODELS if what.wanted else "/root/.cache/huggingface"
    mounts: list[Json] = [{"name": "shared-memory", "mountPath": "/dev/shm"}, {"name": "models", "mountPath": place}]  # noqa: S108 - where shared memory is
    if what.model_path:
        volumes.append({"name": "model", "hostPath": {"path": what.model_path}})
        mounts.append({"name": "model", "mountPath": what.model_path, "readOnly": True})
    if what.inside.files:
        volumes.append({"name": "files", "configMap": {"name": what.name}})
        mounts.append({"name": "files", "mountPath": "/etc/ullage"})
    return {
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": False,  # a service called vllm would set variables that the engine reads as its own
        "containers": [{**_container(what), "volumeMounts": mounts}],
        "volumes": volumes,
    }


def _container(what: Deployment) -> dict[str, Json]:
    names = {name: f"/etc/ullage/{name}" for name, _ in what.inside.files}
    environment: list[Json] = [{"name": name, "value": value} for name, value in what.inside.environment]
    if what.is_fetched and "HF_TOKEN" not in dict(what.inside.environment):
        secret: dict[str, Json] = {"name": "huggingface", "key": "token", "optional": True}
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}})
    probe: dict[str, Json] = {
        "httpGet": {"path": what.server.health, "port": "http"},
        "periodSeconds": _EVERY_SECONDS,
        "timeoutSeconds": 10,
    }
    return {
        "name": "engine",
        "image": needs_image(what),
        "command": [_escaped(names.get(word, word)) for word in what.inside.argv],
        **({"env": environment} if environment else {}),
        "ports": [{"name": "http", "containerPort": what.port}],
        "resources": _resources(what),
        "startupProbe": {**probe, "failureThreshold": -(-what.start_seconds // _EVERY_SECONDS)},
        "readinessProbe": {**probe, "failureThreshold": 1},
        "livenessProbe": {**probe, "failureThreshold": _FAILURES},
    }


def _resources(what: Deployment) -> dict[str, Json]:
    limits: dict[str, Json] = {_RESOURCES[what.kind]: what.devices} if what.kind in _RESOURCES else {}
    limits |= {"memory": what.host_bytes} if what.host_bytes is not None else {}
    return {**({"limits": limits} if limits else {}), "requests": {"memory": what.request_bytes}}


def _service(what: Deployment) -> dict[str, Json]:
    ports: list[Json] = [{"name": "http", "port": what.port, "targetPort": "http"}]
    spec: dict[str, Json] = {"selector": _labels(what), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": what.name, "labels": _labels(what)}, "spec": spec}


def _escaped(word: str) -> str:
    """A dollar before a bracket is a variable there."""
    return word.replace("$(", "$$(")
