"""A planned vLLM over several machines, on Ray: one script that every machine runs with its part."""

from shlex import join, quote

from ullage.domain.plan import Command
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.launch import with_option
from ullage.report.deployment import Deployment

_PORT = 6379
_BACKEND, _DATA_BACKEND = "--distributed-executor-backend", "--data-parallel-backend"


def ray_files(what: Deployment) -> tuple[tuple[str, str], ...]:
    """``serve-ray.sh``: ``head`` on the first machine, ``worker ADDRESS`` on the others. Raises InputError for what cannot be spread so."""
    each = _each(what)
    argv = with_option(what.command.argv, _BACKEND, "ray")
    argv = with_option(argv, _DATA_BACKEND, "ray") if what.data > 1 else argv  # else all replicas start on the first machine
    ray = replace(what.command, argv=argv)
    files = "".join(f"cat > {quote(name)} <<'ULLAGE'\n{text.rstrip(chr(10))}\nULLAGE\n" for name, text in ray.files)
    return (("serve-ray.sh", _SCRIPT.format(**_parts(what, each, ray, files))),)


def _each(what: Deployment) -> int:
    """Devices on each machine; a tensor parallel group stays on one where it can. Raises InputError."""
    if not any(word.endswith(("vllm", "openai.api_server")) for word in what.command.argv[:3]):
        raise InputError("only vLLM runs over several machines on Ray: use --engine vllm, or --export compose, systemd or k8s")
    if not what.devices:
        raise InputError(
            "Ray spreads a model over accelerators, and this plan has none: name them with --gpu, or export compose, systemd or k8s"
        )
    if what.devices % what.nodes:
        raise InputError(
            f"{what.devices} devices cannot be shared evenly by {what.nodes} machines: plan with --tp and --pp for that, or --nodes N"
        )
    each = what.devices // what.nodes
    if each < 1 or (what.tensor > each and what.tensor % each) or (what.tensor <= each and each % what.tensor):
        raise InputError(
            f"a tensor parallel group of {what.tensor} does not divide the {each} devices of each machine: "
            f"plan with --tp {each} --pp {what.nodes}"
        )
    return each


def _parts(what: Deployment, each: int, ray: Command, files: str) -> dict[str, str]:
    replicas = f" x {what.data} replicas" if what.data > 1 else ""
    crosses = (
        f"# A tensor parallel group of {what.tensor} crosses machines: it needs a network as fast as a bus.\n" if what.tensor > each else ""
    )
    return {
        "title": what.title,
        "layout": f"{what.tensor} tensor x {what.pipeline} pipeline ranks{replicas} on {what.nodes} machines of {each} devices",
        "crosses": crosses,
        "nodes": str(what.nodes),
        "each": str(each),
        "total": str(what.devices),
        "port": str(_PORT),
        "limit": str(what.start_seconds),
        "environment": "".join(f"export {name}={quote(value)}\n" for name, value in what.command.environment),
        "files": files,
        "command": join(ray.argv),
        "shared": str(what.shared_bytes),
    }


_SCRIPT = """\
#!/bin/sh
# {title}
# {layout}
{crosses}# On the first machine: serve-ray.sh head. On each other: serve-ray.sh worker ADDRESS-OF-THE-FIRST.
# Every machine needs the same environment, the model at the same place, and {shared} bytes of shared memory (--shm-size in a container).
set -eu
# VLLM_HOST_IP is the address of this machine that the others reach; set it where there are several.
{environment}{files}case "${{1:-}}" in
head)
  ray start --head --port={port} --num-gpus={each} ${{VLLM_HOST_IP:+--node-ip-address=$VLLM_HOST_IP}}
  trap 'ray stop' EXIT INT TERM
  waited=0
  until [ "$(python3 -c 'import ray
ray.init(address="auto", logging_level="error")
print(int(ray.cluster_resources().get("GPU", 0)))')" -ge {total} ]; do
    [ "$waited" -lt {limit} ] || {{ echo "fewer than {nodes} machines with {each} devices each came within {limit} s" >&2; exit 1; }}
    sleep 5
    waited=$((waited + 5))
  done
  {command}
  ;;
worker)
  exec ray start --address="${{2:?the address of the first machine}}:{port}" --num-gpus={each} --block \\
    ${{VLLM_HOST_IP:+--node-ip-address=$VLLM_HOST_IP}}
  ;;
*)
  echo "usage: serve-ray.sh head | worker ADDRESS" >&2
  exit 2
  ;;
esac
"""
