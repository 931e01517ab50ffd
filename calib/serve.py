"""Serve a calibrated model behind OpenAI's chat-completions API.

python -m calib.serve run=runs/NAME
"""

from typing import TYPE_CHECKING

from calib.cli import command
from calib.config.commands import ServeConfig

if TYPE_CHECKING:
    from socket import socket

CACHED_FEATURES_BYTES = 256 << 20
"""Memory for the features of pictures that several requests or steps of a method show."""
NEEDED = ("fastapi", "uvicorn", "zstandard")


def main(config: ServeConfig) -> None:
    """Serve the model that ``config`` describes until SIGINT or SIGTERM."""
    import importlib.util
    import os

    from calib.util.errors import CalibError

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CalibError(
            "needs-package",
            f"calib.serve needs {' and '.join(missing)}. Install with: pip install 'calib[serve]'",
        )
    key = os.environ.get(config.key_env, "").strip() if config.key_env else None
    if key == "":
        raise CalibError(
            "missing-setting",
            f"key_env={config.key_env}: this environment variable is not set. Set it to the API "
            "key that clients must send, or omit key_env.",
        )

    from calib.serving.http.access import require_protection
    from calib.serving.http.server import listen

    listening = listen(config.host, config.port)  # before libraries and the model are loaded
    try:
        local = require_protection(config.host, listening.getsockname()[0], key, config.no_key)
        command.import_libraries()
        _serve(config, listening, local, key)
    finally:
        listening.close()
    print("stopped")


def _serve(config: ServeConfig, listening: "socket", local: bool, key: str | None) -> None:
    """Load the model and serve on a socket, which only this machine can reach if ``local``."""
    import sys
    from socket import gethostname

    from calib.runs.run import Run
    from calib.serving.app import Server, create_app
    from calib.serving.http.access import Access, own_names
    from calib.serving.http.server import address, banner, serve
    from calib.serving.loader import load_served
    from calib.serving.pictures import PictureLimits
    from calib.serving.playground.playground import Playground
    from calib.serving.warm_up import warm_up
    from calib.util.terminal import terminal_safe

    run = Run.load(config.run) if config.run else None
    served = load_served(config, run)
    # Clients send new pictures for ever, so a share of the machine's memory would be filled.
    served.vlm.feature_cache.limit = CACHED_FEATURES_BYTES
    access = Access(key, [*config.hosts, *([] if local else own_names())])
    pictures = PictureLimits(config.pictures, config.megapixels * 1_000_000)
    server = Server(
        served, config.generation, config.body_mb, config.waiting, access, pictures,
        config.stalled_after,
    )  # fmt: skip
    decoding = server.default_decoding
    unsupported = [message for each in served.methods for message in warm_up(each, decoding)]
    for note in [*served.notes, *(f"not supported: {message}" for message in unsupported)]:
        print(f"note: {terminal_safe(note)}")
    if not local:
        how = "with the API key" if key else "without an API key (no_key=true)"
        print(
            f"warning: host={config.host} accepts requests from other machines {how}, "
            f"unencrypted, by the name {gethostname()} or any address of this machine"
        )
    url = address(config.host, listening)
    for line in banner(served, url, config.key_env, config.playground):
        print(terminal_safe(line), flush=True)
    # The command has paths of this machine, which other machines need not know.
    arguments = sys.argv[1:] if local else None
    playground = Playground(served, run, arguments) if config.playground else None
    if playground is not None:
        playground.preload()
    serve(create_app(server, playground), listening)


if __name__ == "__main__":
    command.run(main, "serve", ServeConfig)
