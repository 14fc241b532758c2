"""A planned engine as a unit of systemd."""

from ullage.report.deployment import Deployment

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_-+=:,./")


def systemd_files(what: Deployment) -> tuple[tuple[str, str], ...]:
    """The unit and the files that its command needs, which go to ``/etc/NAME``."""
    folder = f"/etc/{what.name}"
    names = {name: f"{folder}/{name}" for name, _ in what.command.files}
    words = tuple(names.get(word, word) for word in what.command.argv)
    program = words[0] if words[0].startswith("/") else f"/usr/bin/env {words[0]}"
    start = " ".join((program, *(_quoted(word) for word in words[1:])))
    url = f"http://{what.host}:{what.port}{what.server.health}"
    state = f"/var/lib/{what.name}"
    files = [word for word in words[1:] if word.endswith((".py", ".gguf")) and not word.startswith(("-", "/"))]
    files += [f"models/{name}" if what.server.folder_flag else name for name in what.wanted if name not in files]
    lines = [
        *((f"# It reads these from {state}; where they lie elsewhere, change WorkingDirectory: {', '.join(files)}",) if files else ()),
        "[Unit]",
        f"Description={what.title.replace('%', '%%')}",
        "After=network-online.target",
        "Wants=network-online.target",
        "StartLimitIntervalSec=600",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=exec",
        *((f"StateDirectory={what.name}", f"WorkingDirectory={state}") if files else ()),
        f"ExecStart={start}",
        # The unit is started when the engine answers, so that what needs it comes after.
        f"ExecStartPost=/bin/sh -c 'until curl -fsS {url} >/dev/null 2>&1; do sleep 2; done'",
        *(f'Environment="{name}={_value(value)}"' for name, value in what.command.environment),
        f"TimeoutStartSec={what.start_seconds}",
        "Restart=on-failure",
        "RestartSec=1",
        "RestartSteps=6",
        "RestartMaxDelaySec=60",
        "RestartPreventExitStatus=2 126 127 SIGILL",
        "KillMode=control-group",
        "TimeoutStopSec=30",
        "LimitMEMLOCK=infinity",
        *((f"MemoryMax={what.host_bytes}",) if what.host_bytes is not None else ()),
        "OOMPolicy=stop",
        "NoNewPrivileges=true",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return ((f"{what.name}.service", "\n".join(lines)), *what.command.files)


def _quoted(word: str) -> str:
    escaped = _value(word).replace("$", "$$")
    return escaped if word and set(word) <= _SAFE else f'"{escaped}"'


def _value(text: str) -> str:
    """Inside double quotes; a percent sign begins a specifier there."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
