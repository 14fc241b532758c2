"""A planned engine written for another runner."""

from collections.abc import Callable

from ullage.errors import InputError
from ullage.report.deployment import Deployment, deployment
from ullage.report.export_compose import compose_files
from ullage.report.export_k8s import k8s_files
from ullage.report.export_ray import ray_files
from ullage.report.export_systemd import systemd_files

Files = tuple[tuple[str, str], ...]
FORMS: dict[str, Callable[[Deployment], Files]] = {
    "compose": compose_files,
    "systemd": systemd_files,
    "k8s": k8s_files,
    "ray": ray_files,
}


def export(form: str, what: Deployment) -> Files:
    """The files of a form, by name. Raises InputError for a form that is not known, and for what the form cannot say."""
    write = FORMS.get(form.strip().lower())
    if write is None:
        raise InputError(f"--export {form[:40]!r} is not known: use {', '.join(FORMS)}")
    return write(what)


__all__ = ["Deployment", "deployment", "export"]
