"""The command calib.serve: its startup message, its responses, and its end on a signal."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import openai
import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")
pytest.importorskip("uvicorn", reason="the serve extra brings fastapi and uvicorn")

from composing import composed  # noqa: E402
from raising import raises  # noqa: E402

from calib import serve  # noqa: E402

HELLO = [{"role": "user", "content": "Hello"}]


class Command:
    """The command in a separate process, with its output until the server is ready."""

    def __init__(self, *overrides, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "calib.serve", "port=0", *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **environment},
        )
        self.output = ""

    def __enter__(self):
        guard = threading.Timer(120, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                break
        guard.cancel()
        match = re.search(r"serving +(\S+)", self.output)
        assert match, self.output + self.process.stderr.read()
        self.url = match[1]
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def client(self, key="none"):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def stop(self, signal_number):
        self.process.send_signal(signal_number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_it_serves_until_sigint():
    with Command("method=reminder", "key_env=CALIB_TEST_KEY", CALIB_TEST_KEY="s3cret") as command:
        assert command.url.startswith("http://127.0.0.1:")
        assert re.search(r"mini-internvl-reminder: .*strength 1 ", command.output)
        with command.client("s3cret") as client:
            names = [model.id for model in client.models.list()]
            texts = [
                client.chat.completions.create(model=name, messages=HELLO, max_tokens=8)
                .choices[0].message.content
                for name in names
            ]  # fmt: skip
        assert all(texts) and len(names) == 2
        assert all(f"model      {name}:" in command.output for name in names)
        assert "$(printenv CALIB_TEST_KEY)" in command.output
        assert 'os.environ["CALIB_TEST_KEY"]' in command.output
        with command.client() as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=names[0], messages=HELLO)
        code, out, err = command.stop(signal.SIGINT)
        assert code == 0, err
        assert "s3cret" not in command.output + out + err
        assert "Hello" not in out + err
        assert err == ""


def test_the_printed_examples_work_and_sigterm_stops_it_while_it_streams():
    with Command("method=none", "generation.max_new_tokens=900") as command:
        curl = next(line.strip() for line in command.output.splitlines() if "  curl" in line)
        url, header, body = re.fullmatch(r"curl (\S+) -H '([^']*)' -d '([^']*)'", curl).groups()
        name, _, value = header.partition(": ")
        request = urllib.request.Request(url, body.encode(), {name: value})
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert b'"assistant"' in reply.read()
        lines = [line.strip() for line in command.output.splitlines() if "client" in line]
        assert len(lines) == 2
        scope = {"openai": openai}
        exec("\n".join([lines[0], f"answer = {lines[1]}"]), scope)
        assert scope["answer"].choices[0].message.content

        def stream_response():
            with command.client() as client, contextlib.suppress(openai.APIError):
                stream = client.chat.completions.create(
                    model="mini-internvl-uncalibrated", messages=HELLO, temperature=2, stream=True
                )
                next(iter(stream))
                started.set()
                list(stream)

        started = threading.Event()
        client_thread = threading.Thread(target=stream_response)
        client_thread.start()
        assert started.wait(60)
        code, _, err = command.stop(signal.SIGTERM)
        client_thread.join(30)
        assert not client_thread.is_alive()
        assert (code, err) == (0, "")


def test_errors_name_the_setting_at_fault(monkeypatch):
    monkeypatch.delenv("CALIB_TEST_KEY", raising=False)
    with raises("missing-setting", "key_env=CALIB_TEST_KEY"):
        serve.main(composed("serve", "key_env=CALIB_TEST_KEY"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with raises("in-use", f"port={port}", "port=0"):
            serve.main(composed("serve", f"port={port}"))
    with raises("invalid-setting", "host=no.such.host.invalid"):
        serve.main(composed("serve", "port=0", "host=no.such.host.invalid"))
    monkeypatch.setattr(serve, "NEEDED", ("fastapi", "no_such_package"))
    with raises("needs-package", "no_such_package", "pip install 'calib[serve]'"):
        serve.main(composed("serve"))


def test_a_server_for_other_machines_warns(monkeypatch, capsys):
    monkeypatch.setattr("calib.serving.http.server.serve", lambda app, listening: None)
    with raises("missing-setting", "host=0.0.0.0", "key_env", "no_key"):
        serve.main(composed("serve", "port=0", "host=0.0.0.0", "method=reminder"))
    serve.main(composed("serve", "port=0", "host=0.0.0.0", "no_key=true", "method=reminder"))
    assert re.search("warning: .*host=0.0.0.0.*no_key", capsys.readouterr().out)
    serve.main(composed("serve", "port=0", "method=reminder"))
    assert "warning" not in capsys.readouterr().out


def test_help_shows_the_settings():
    done = subprocess.run(
        [sys.executable, "-m", "calib.serve", "--help"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0 and "run=" in done.stdout
