"""Put a calibrated model behind OpenAI's chat-completions protocol.

python -m calib.serve run=runs/NAME
"""

from calib.cli import command
from calib.config.commands import ServeConfig

NEEDED = ("fastapi", "uvicorn")


def main(config: ServeConfig) -> None:
    """Serve what ``config`` describes until it is told to stop."""
    import importlib.util
    import os

    from calib.util.errors import CalibError

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CalibError(
            f"calib.serve needs {' and '.join(missing)}. Install with: pip install 'calib[serve]'"
        )
    key = os.environ.get(config.key_env, "").strip() if config.key_env else None
    if key == "":
        raise CalibError(
            f"key_env={config.key_env}: the variable is not set. Put the key that clients must "
            "give into it, or leave key_env away."
        )

    from calib.serving.app import Server, app_of
    from calib.serving.limits import LOOPBACK
    from calib.serving.loader import PROBES, calibrated
    from calib.serving.server import address, banner, listen, serve
    from calib.util.terminal import terminal_safe

    local = config.host in LOOPBACK
    listening = listen(config.host, config.port)
    try:
        served = calibrated(config)
        server = Server(served, config.generation, config.body_mb, config.waiting, key, local)
        refused = server.worker.warm(server.default, PROBES)
        for note in [*served.notes, *(f"not served: {one}" for one in refused)]:
            print(f"note: {terminal_safe(note)}")
        if not local:
            asked = "with the key" if key else "without a key (key_env=NAME asks for one)"
            print(f"warning: host={config.host} lets other machines ask, {asked}, unencrypted")
        for line in banner(served, address(config.host, listening), config.key_env):
            print(terminal_safe(line), flush=True)
        serve(app_of(server), listening)
    finally:
        listening.close()
    print("stopped")


if __name__ == "__main__":
    command.run(main, "serve", ServeConfig)
