"""What the server settles before it answers."""

import socket
import subprocess
import sys

from tests.runtime.real_model import smollm2_file

from ullage.runtime.serve.defaults import sampling_defaults


def test_a_port_in_use_is_refused_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "ullage.runtime", str(smollm2_file()), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 4
    assert f"127.0.0.1:{port} cannot be listened on" in ended.stderr
    assert "weights:" not in ended.stdout + ended.stderr


def test_the_makers_sampling_is_read_from_the_models_folder() -> None:
    said = b'{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": true, "eos_token_id": 2, "repetition_penalty": null}'

    defaults = sampling_defaults({"generation_config.json": said})

    assert defaults == {"temperature": 0.7, "top_k": 20}
    assert sampling_defaults({}) == sampling_defaults({"generation_config.json": b"[]"}) == {}
