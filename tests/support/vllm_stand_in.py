"""A server in a thread that replies as a vLLM server with vllm-lens does, and fails on request.

    with VllmStandIn() as server:
        server.at(3, server.dies)          # the fourth request kills the server
        ...                                # send requests to server.url

The fields of its replies were recorded from vLLM 0.32.0 with vllm-lens 1.3.0. Each response has the
prompt's text and the number of steering vectors in its tokens, so that a test can tell responses
apart. Requests that ask what the server serves are not counted.
"""

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from calib.engine.vllm.server.tensors import encode_tensor

WIDTH = 4
TOO_LONG = (
    "This model's maximum context length is 1024 tokens. However, your prompt contains at least "
    "1025 input tokens, which exceeds this limit even without any output tokens. Please reduce the "
    "length of the input prompt. (parameter=input_tokens, value=1025)"
)


def response_tokens(text, vectors=0):
    """The tokens with which the server responds to a prompt."""
    return (*text.encode(), vectors)


class VllmStandIn:
    """The server. Its attributes may be changed while it runs, as by a restart."""

    def __init__(self, checkpoint="/models/mini_internvl", **attributes):
        self.checkpoint, self.served_name = checkpoint, checkpoint
        self.version, self.settings, self.max_model_len = "0.32.0", "f273bb1e", 1024
        self.vllm_lens, self.prefix_caching, self.hook_results = True, "False", None
        self.preemptions = 0
        self.__dict__.update(attributes)
        self.requests, self.headers = [], []
        """Bodies and headers (names in lower case) of chat completions, in order of arrival."""
        self.most_at_once, self.starts = 0, 0
        self._acts, self._at_once = {}, 0
        self._lock, self._server, self._connections = threading.RLock(), None, set()
        self.port = 0

    def __enter__(self):
        self.start()
        self.port = self._server.server_port
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def at(self, number, act):
        """Let the request with this number, in order of arrival, end in an act."""
        self._acts[number] = act

    def start(self, **attributes):
        """Listen on the same port as before, with other attributes if any are given."""
        self.__dict__.update(attributes)
        self.starts += 1
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        """Reset all connections and refuse new ones, as when the process was killed."""
        with self._lock:
            server, self._server = self._server, None
            if server is None:
                return
            server.shutdown()
            server.server_close()
            for connection in list(self._connections):
                _reset(connection)
            self._connections.clear()

    # Acts: what happens instead of a reply.

    def dies(self, handler):
        self.stop()

    def restarts(self, **attributes):
        """The act of a server that is killed and started again."""

        def act(handler):
            self.stop()
            self.start(**attributes)

        return act

    def fails(self, status, message="made up", **headers):
        error = {"error": {"message": message, "type": "made up", "param": None, "code": status}}
        return lambda handler: handler.send(status, json.dumps(error), **headers)

    def writes(self, text):
        return lambda handler: handler.send(200, text)

    def hangs(self, released):
        """The act of a server that does not reply until the event, and then closes the connection
        without a reply."""

        def act(handler):
            released.wait(30)
            handler.close_connection = True

        return act

    # Replies.

    def get(self, path):
        """Status and body of a GET request."""
        if path == "/v1/models":
            model = {"id": self.served_name, "object": "model", "root": self.checkpoint,
                     "parent": None, "max_model_len": self.max_model_len}  # fmt: skip
            return 200, json.dumps({"object": "list", "data": [model]})
        if path == "/version":
            return 200, json.dumps({"version": self.version})
        if path == "/metrics":
            names = f'cache_dtype="auto",enable_prefix_caching="{self.prefix_caching}"'
            info = f'vllm:cache_config_info{{block_size="128",{names}}} 1.0'
            count = f'vllm:num_preemptions_total{{engine="0"}} {self.preemptions:.1f}'
            return 200, f"# TYPE vllm:cache_config_info gauge\n{info}\n{count}\n"
        return 404, json.dumps({"detail": "Not Found"})

    def respond(self, handler, body):
        text = body["messages"][-1]["content"]
        probes = text == "Hello"
        with self._lock:
            number = len(self.requests)
            if not probes:
                self.requests.append(body)
                self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self._at_once += not probes
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if not probes and number in self._acts:
                self._acts[number](handler)
            elif body["model"] != self.served_name:
                message = f"The model `{body['model']}` does not exist."
                self.fails(404, message)(handler)
            else:
                handler.send(200, json.dumps(self.completion(text, body)))
        finally:
            with self._lock:
                self._at_once -= not probes

    def completion(self, text, body):
        arguments = body["vllm_xargs"]
        assert all(isinstance(value, str) for value in arguments.values())
        vectors = json.loads(arguments.get("apply_steering_vectors", "[]"))
        prompt = [1, *text.encode(), 2]
        tokens = list(response_tokens(text, len(vectors)))[: body["max_tokens"]]
        tokens = tokens[: self.max_model_len - len(prompt)]
        cut = len(tokens) <= len(text.encode())
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": _logprobs(tokens, body) if body.get("logprobs") else None,
            "finish_reason": "length" if cut else "stop",
            "stop_reason": None,
            "token_ids": tokens,
        }
        reply = {
            "id": "chatcmpl-b60412ce42bd030f",
            "object": "chat.completion",
            "model": self.served_name,
            "choices": [choice],
            "system_fingerprint": f"vllm-{self.version}-{self.settings}",
            "prompt_token_ids": prompt,
        }
        if self.vllm_lens and "output_residual_stream" in arguments:
            layers = json.loads(arguments["output_residual_stream"])
            shape = len(layers), len(prompt) + len(tokens) - 1, WIDTH
            stream = torch.tensor(sorted(layers)).float()[:, None, None].expand(shape)
            reply["activations"] = {"residual_stream": encode_tensor(stream)}
        if self.hook_results is not None and "apply_hooks" in arguments:
            reply["hook_results"] = self.hook_results
        return reply


def _logprobs(tokens, body):
    likely = [{"token": f"token_id:{token}", "logprob": -float(rank), "bytes": None}
              for rank, token in enumerate((*tokens[:1], 300, 301, 302))]  # fmt: skip
    top = likely if body["top_logprobs"] == -1 else likely[: body["top_logprobs"]]
    return {"content": [{**likely[0], "top_logprobs": top}]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):  # a connection was reset
        pass


def _handler(owner):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            owner._connections.add(self.connection)

        def do_GET(self):
            self.send(*owner.get(self.path))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            owner.respond(self, body)

        def send(self, status, body, **headers):
            data = body.encode()
            self.send_response(status)
            kind = "application/json" if body.startswith("{") else "text/plain"
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler


def _reset(connection):
    try:
        # Lingering for zero seconds sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
    except OSError:
        pass  # closed already
