"""Planned engines written for other runners: the whole text, and that the runners' own readers take it."""

import shutil
import subprocess
import sys
from pathlib import Path
from shlex import split
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from ullage import catalog
from ullage.cli import main
from ullage.commands.serve import VERB
from ullage.commands.serving import read_serving
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.launch import listen
from ullage.report.as_yaml import yaml_text
from ullage.report.deployment import Deployment, deployment
from ullage.report.export import FORMS, export
from ullage.units import GiB
from ullage.world import real

PLANS: dict[str, dict[str, Any]] = {
    "vllm": {"model": "Qwen3-32B", "engine": "vllm", "gpu": "2xH100-80GB", "context": "32k", "tp": 2},
    "sglang": {"model": "Qwen3-32B", "engine": "sglang", "gpu": "2xH100-80GB", "context": "32k", "tp": 2, "env": {"A": 'x "%" $y'}},
    "llama_cpp": {"model": "Qwen3-0.6B", "quant": "q8_0", "engine": "llama_cpp", "gpu": "cpu", "host_memory": "16GiB", "context": "4096"},
    "runtime": {"model": "Qwen3-0.6B", "engine": "runtime", "gpu": "cpu", "host_memory": "16GiB", "image": "registry.local/ullage:1"},
    "exllamav3": {"model": "Qwen3-8B", "engine": "exllamav3", "gpu": "24GiB", "context": "16k", "image": "registry.local/tabby:1"},
}
NODES = {"model": "Qwen3-235B-A22B", "engine": "vllm", "gpu": "16xH100-80GB", "context": "32k", "nodes": 2}


def planned(**said: Any) -> Deployment:
    model = said.pop("model")
    flags = VERB.flags({**said, "model": (model,)})
    serving = read_serving(flags, real.world(offline=True))
    assert serving.plan is not None
    command = listen(serving.command, serving.server, serving.host, serving.port)
    where, told = (serving.host, serving.port), (flags.text("image"), flags.whole("nodes"))
    return deployment(serving.engine.profile, serving.server, command, serving.plan, where, told)


def shown(form: str, **said: Any) -> str:
    return "\n".join(f"== {name}\n{text}" for name, text in export(form, planned(**said)))


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("form", ["compose", "systemd", "k8s"])
def test_an_export_reads_as_it_did(form: str, name: str, snapshot: SnapshotAssertion) -> None:
    assert shown(form, **PLANS[name]) == snapshot


def test_several_machines_run_vllm_on_ray_with_the_planned_ranks(snapshot: SnapshotAssertion) -> None:
    text = shown("ray", **NODES)
    assert "--tensor-parallel-size 8 --pipeline-parallel-size 2" in text
    assert "--distributed-executor-backend ray" in text
    assert text == snapshot


@pytest.mark.parametrize("name", PLANS)
def test_the_yaml_that_is_written_reads_back_to_what_it_says(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    what = planned(**PLANS[name])
    compose = yaml.safe_load(dict(export("compose", what))["compose.yaml"])
    engine = compose["services"]["engine"]
    words = {name: f"/etc/ullage/{name}" for name, _ in what.inside.files}
    assert [word.replace("$$", "$") for word in engine["entrypoint"]] == [words.get(word, word) for word in what.inside.argv]
    assert engine["shm_size"] == what.shared_bytes
    objects = {one["kind"]: one for one in yaml.safe_load_all(dict(export("k8s", what))["k8s.yaml"])}
    container = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"].get("limits", {}).get("nvidia.com/gpu", 0) == what.devices
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= what.start_seconds


@pytest.mark.parametrize(
    "text", ["", "yes", "no", "1", "1.5", "null", "- x", "a: b", "a #b", "a\nb", "a\nb\n", " a", "é", '"', "0x1f", "a  b"]
)
def test_any_text_survives_yaml(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    value: Any = {"a": text, "b": [text, {"c": text, "d": [text]}], text or "e": {}, "f": []}
    assert yaml.safe_load(yaml_text(value)) == value


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not there")
@pytest.mark.parametrize("name", PLANS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    what = planned(**PLANS[name])
    what = replace(what, command=replace(what.command, argv=("/bin/true", *what.command.argv[1:])))
    (unit, text), *_ = export("systemd", what)
    (tmp_path / unit).write_text(text)
    done = subprocess.run(
        [shutil.which("systemd-analyze") or "", "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    complaints = [
        line for line in done.stderr.splitlines() if unit in line and "Restart" not in line
    ]  # the stepped delay is of release 254
    assert complaints == []


def test_a_shell_takes_the_script_for_ray(tmp_path: Path) -> None:
    ((name, text),) = export("ray", planned(**NODES))
    (tmp_path / name).write_text(text)
    subprocess.run(["/bin/sh", "-n", str(tmp_path / name)], check=True)


def test_a_form_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(InputError, match=", ".join(FORMS)):
        export("helm", planned(**PLANS["vllm"]))


def test_an_engine_without_a_known_image_asks_for_one_of_what_serves_it() -> None:
    with pytest.raises(InputError, match=r"docker/Dockerfile of `git clone https://github.com/theroyallab/tabbyAPI` .*--image"):
        export("compose", planned(**{**PLANS["exllamav3"], "image": None}))


def test_what_is_installed_by_a_package_is_said_to_be_built_from_it() -> None:
    for form in ("compose", "k8s"):
        with pytest.raises(InputError, match=r"RUN pip install 'ullage\[runtime\]'.*--image"):
            export(form, planned(model="Qwen3-0.6B", engine="runtime", gpu="cpu", host_memory="16GiB"))


def test_a_unit_starts_the_interpreter_that_has_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("serve", "Qwen3-0.6B", "--engine", "runtime", "--gpu", "cpu", "--host-memory", "16GiB", "--offline", "--export", "systemd")
    assert main(words) == 0
    text = capsys.readouterr().out
    assert f"ExecStart={sys.executable} -m ullage.runtime" in text
    assert "/usr/bin/env" not in text


def test_the_directory_of_an_export_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("serve", "Qwen3-8B", "--engine", "vllm", "--gpu", "24GiB", "--offline", "--export", "compose", "--into")
    assert main((*words, str(tmp_path / "a" / "b"))) == 0
    assert (tmp_path / "a" / "b" / "compose.yaml").is_file()
    assert main((*words, str(tmp_path / "a" / "b" / "compose.yaml"))) == 4
    assert "give another directory" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"nodes": 3}, {"engine": "sglang"}, {"gpu": "cpu", "host_memory": "900GiB", "nodes": 1}])
def test_what_cannot_be_spread_over_machines_says_what_to_plan_instead(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"use|plan"):
        export("ray", planned(**{**NODES, **change}))


def test_replicas_are_spread_by_ray_too() -> None:
    text = shown("ray", model="Qwen3-8B", engine="vllm", gpu="8xH100-80GB", context="32k", tp=2, dp=4, nodes=2)
    assert "--data-parallel-backend ray" in text
    assert "2 tensor x 1 pipeline ranks x 4 replicas on 2 machines of 4 devices" in text


def test_machines_are_asked_for_by_an_export_for_ray_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("serve", "Qwen3-8B", "--engine", "vllm", "--gpu", "8xH100-80GB", "--offline", "--nodes", "2")
    assert main((*words, "--dry-run")) == main((*words, "--export", "compose")) == 2
    assert "--export ray" in capsys.readouterr().err
    assert main((*words, "--export", "ray")) == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("docker run -p 8000:8000 vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B", "started by docker"),
        ("sudo podman run --device nvidia.com/gpu=all vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B", "started by podman"),
        ("sudo -E docker run --gpus all vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B", "started by docker"),
        ("bash -c 'vllm serve Qwen/Qwen3-8B'", "without the shell"),
        ("nice -n 5 bash -lc 'vllm serve Qwen/Qwen3-8B'", "without the shell"),
    ],
)
def test_a_command_whose_end_is_not_the_engines_is_not_served(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("serve", "--gpu", "80GiB", "--offline", "--dry-run", "--", *split(command))) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_model_of_this_machine_is_seen_inside(tmp_path: Path) -> None:
    what = replace(planned(**PLANS["vllm"]), model_path=str(tmp_path))
    assert f"{tmp_path}:{tmp_path}:ro" in dict(export("compose", what))["compose.yaml"]
    assert f"path: {tmp_path}" in dict(export("k8s", what))["k8s.yaml"]


@pytest.mark.parametrize("form", ["compose", "systemd", "k8s"])
def test_a_path_that_was_said_from_here_is_written_from_the_root(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("small").mkdir()
    shutil.copy(Path(catalog.__file__ or "").with_name("configs") / "HuggingFaceTB__SmolLM2-1.7B.json", tmp_path / "small" / "config.json")
    monkeypatch.chdir(tmp_path)
    assert main(("serve", "small", "--engine", "vllm", "--gpu", "24GiB", "--offline", "--export", form)) == 0
    text = capsys.readouterr().out
    assert text.count(f"{tmp_path}/small") == {"compose": 3, "systemd": 1, "k8s": 3}[form]


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "80000", "--dry-run"]])
def test_what_is_no_port_is_refused_before_anything_starts(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("serve", "Qwen3-8B", "--engine", "vllm", "--gpu", "24GiB", "--offline", *words)) == 2
    assert "from 1 to 65535" in capsys.readouterr().err


def test_an_engine_named_where_no_gpu_answers_is_said_to_be_planned_for_the_processor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real.RealHardware, "devices", lambda _self: ())
    words = ("serve", "Qwen3-0.6B", "--engine", "vllm", "--host-memory", "16GiB", "--offline", "--dry-run")
    assert main(words) == 0
    assert "planned for its processor" in " ".join(capsys.readouterr().out.split())
    assert main((*words, "--gpu", "cpu")) == 0
    assert "planned for its processor" not in " ".join(capsys.readouterr().out.split())
    assert main(("serve", "Qwen3-0.6B", "--engine", "sglang", "--offline", "--dry-run")) == 2
    assert "--engine runtime --gpu cpu" in capsys.readouterr().err


def test_what_no_package_installs_is_said_where_to_get(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage.world.installed.find", lambda *_: None)
    assert (
        main(("serve", "Qwen3-0.6B", "--quant", "q8_0", "--engine", "llama_cpp", "--gpu", "cpu", "--host-memory", "16GiB", "--offline"))
        == 4
    )
    said = capsys.readouterr().err
    assert "install llama.cpp by brew" in said
    assert "pip install" not in said


@pytest.mark.parametrize(("name", "clone"), [("exllamav2", "--branch exl2-checkpoint "), ("exllamav3", "")])
def test_a_server_that_is_a_checkout_is_named_with_where_to_get_it_and_how_it_is_found(
    name: str, clone: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No package installs TabbyAPI; its main branch serves ExLlamaV3 alone."""
    monkeypatch.chdir(tmp_path)
    assert main(("serve", "Qwen3-0.6B", "--engine", name, "--gpu", "24GiB", "--offline")) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert f"`git clone {clone}https://github.com/theroyallab/tabbyAPI`" in said
    assert "--engine-dir tabbyAPI" in said
    assert "pip install" not in said
    (tmp_path / "tabbyAPI" / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "tabbyAPI" / "main.py").touch()
    (tmp_path / "tabbyAPI" / "venv" / "bin" / "python").symlink_to(sys.executable)
    found = real.RealProcesses().find(("python", "main.py"), "tabbyAPI")
    assert found == (str(tmp_path / "tabbyAPI/venv/bin/python"), str(tmp_path / "tabbyAPI/main.py"))  # whole, as it is started in there


@pytest.mark.parametrize(
    ("name", "wanted"), [("llama_cpp", "Qwen3-0.6B-Q8_0.gguf"), ("exllamav3", "Qwen/Qwen3-8B"), ("runtime", "Qwen/Qwen3-0.6B")]
)
def test_what_an_engine_does_not_fetch_is_mounted_and_said(name: str, wanted: str) -> None:
    yaml = pytest.importorskip("yaml")
    what = planned(**PLANS[name])
    assert what.wanted == (wanted,)
    assert {"/models", f"/models/{wanted}"} & set(what.inside.argv)
    text = dict(export("compose", what))["compose.yaml"]
    assert f"# Put into ./models before it starts: {wanted}" in text
    assert "./models:/models:ro" in yaml.safe_load(text)["services"]["engine"]["volumes"]
    (_, unit), *_ = export("systemd", what)
    assert f"WorkingDirectory=/var/lib/{what.name}" in unit
    assert wanted in unit.splitlines()[0]


@pytest.mark.parametrize("name", PLANS)
def test_a_pod_asks_for_memory_keeps_its_model_and_takes_a_token_that_need_not_be(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    what = planned(**PLANS[name])
    objects = {one["kind"]: one for one in yaml.safe_load_all(dict(export("k8s", what))["k8s.yaml"])}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asked = container["resources"]["requests"]["memory"]
    assert asked == (what.host_bytes if what.host_bytes is not None else what.request_bytes) >= what.shared_bytes
    assert container["resources"].get("limits", {}).get("memory") == what.host_bytes
    storage = objects["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"]
    assert int(storage.removesuffix("Gi")) * GiB > what.model_bytes
    secrets = [one["valueFrom"]["secretKeyRef"] for one in container.get("env", []) if one["name"] == "HF_TOKEN"]
    assert secrets == ([{"name": "huggingface", "key": "token", "optional": True}] if what.is_fetched else [])
    assert "emptyDir" in next(one for one in [*pod["volumes"]] if one["name"] == "shared-memory")
    local = replace(what, model_path="/srv/model")
    assert "PersistentVolumeClaim" not in dict(export("k8s", local))["k8s.yaml"]
