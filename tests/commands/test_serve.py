"""calib.serve as a command: it says what it serves, answers, and stops when it is told to."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import openai
import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")
pytest.importorskip("uvicorn", reason="the serve extra brings fastapi and uvicorn")

from composing import composed  # noqa: E402

from calib import serve  # noqa: E402
from calib.util.errors import CalibError  # noqa: E402

HELLO = [{"role": "user", "content": "Hello"}]


class Command:
    """The command in a process of its own."""

    def __init__(self, *overrides, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "calib.serve", "port=0", *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.said = ""

    def __enter__(self):
        guard = threading.Timer(120, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        guard.cancel()
        found = re.search(r"serving +(\S+)", self.said)
        assert found, self.said + self.process.stderr.read()
        self.url = found[1]
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def client(self, key="none"):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def stop(self, by):
        self.process.send_signal(by)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_it_serves_until_it_is_told_to_stop():
    with Command("method=reminder", "key_env=CALIB_TEST_KEY", CALIB_TEST_KEY="s3cret") as command:
        assert command.url.startswith("http://127.0.0.1:")
        assert re.search(r"mini-internvl-reminder: reminder, .*strength 1 ", command.said)
        assert "mini-internvl-reminder-uncalibrated: as it is" in command.said
        assert "curl http" in command.said and "openai.OpenAI(" in command.said
        with command.client("s3cret") as client:
            names = [model.id for model in client.models.list()]
            texts = [
                client.chat.completions.create(model=name, messages=HELLO, max_tokens=8)
                .choices[0].message.content
                for name in names
            ]  # fmt: skip
        assert all(texts) and len(names) == 2
        with command.client() as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=names[0], messages=HELLO)
        code, out, err = command.stop(signal.SIGINT)
        assert (code, out) == (0, "stopped\n"), err
        assert "s3cret" not in command.said + out + err
        assert "Hello" not in out + err
        assert err == ""


def test_it_stops_while_it_answers():
    with Command("method=none", "generation.max_new_tokens=900") as command:
        raised = []

        def ask():
            with command.client() as client:
                try:
                    stream = client.chat.completions.create(
                        model="mini-internvl-uncalibrated", messages=HELLO, temperature=2,
                        stream=True,
                    )  # fmt: skip
                    next(iter(stream))
                    begun.set()
                    list(stream)
                except openai.APIError as error:
                    raised.append(error)

        begun = threading.Event()
        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(30)
        code, _, err = command.stop(signal.SIGTERM)
        asking.join(30)
        assert not asking.is_alive()
        assert code == 0, err
        assert "Traceback" not in err


def test_the_examples_it_prints_work_and_it_stops_as_a_service_is_stopped():
    with Command("method=none") as command:
        curl = next(line.strip() for line in command.said.splitlines() if "  curl" in line)
        url, header, body = re.fullmatch(r"curl (\S+) -H '([^']*)' -d '([^']*)'", curl).groups()
        import urllib.request

        name, _, value = header.partition(": ")
        asked = urllib.request.Request(url, body.encode(), {name: value})
        with urllib.request.urlopen(asked, timeout=60) as reply:
            assert b'"assistant"' in reply.read()
        lines = [line.strip() for line in command.said.splitlines() if "client" in line]
        assert len(lines) == 2
        scope = {"openai": openai}
        exec("\n".join([lines[0], f"answer = {lines[1]}"]), scope)
        assert scope["answer"].choices[0].message.content
        assert command.stop(signal.SIGTERM) == (0, "stopped\n", "")


def test_the_user_is_told_what_is_wrong(monkeypatch):
    monkeypatch.delenv("CALIB_TEST_KEY", raising=False)
    with pytest.raises(CalibError, match="key_env=CALIB_TEST_KEY: the variable is not set"):
        serve.main(composed("serve", "key_env=CALIB_TEST_KEY"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CalibError, match=f"port={port} cannot be listened on.*Give another"):
            serve.main(composed("serve", f"port={port}"))
    with pytest.raises(CalibError, match="host=no.such.host.invalid port=0 cannot be listened on"):
        serve.main(composed("serve", "port=0", "host=no.such.host.invalid"))
    monkeypatch.setattr(serve, "NEEDED", ("fastapi", "no_such_package"))
    with pytest.raises(CalibError, match=r"needs no_such_package. .*pip install 'calib\[serve\]'"):
        serve.main(composed("serve"))


def test_other_machines_are_let_in_with_a_warning(monkeypatch, capsys):
    monkeypatch.setattr("calib.serving.server.serve", lambda app, listening: None)
    serve.main(composed("serve", "port=0", "host=0.0.0.0", "method=reminder"))
    said = capsys.readouterr().out
    assert "warning: host=0.0.0.0 lets other machines ask, without a key" in said
    serve.main(composed("serve", "port=0", "method=reminder"))
    assert "warning" not in capsys.readouterr().out


def test_help_is_there():
    done = subprocess.run(
        [sys.executable, "-m", "calib.serve", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "run=runs/NAME" in done.stdout
