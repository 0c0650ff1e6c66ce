"""`nudge ui`: MLflow's own server over the project's own store."""

import os
import socket
import sys

from nudge import project
from nudge.errors import UserError
from nudge.training.tracking import store

PORT = 5000


def ui(port: int) -> None:
    """Become an MLflow server on loopback; Ctrl-C ends it.

    Raises:
        UserError: the store is elsewhere, or the port is taken.
    """
    if store.uri() != store.own_uri():
        raise UserError(
            f"MLFLOW_TRACKING_URI={store.uri()}: runs go there; open that, or unset it for the project's own"
        )
    chosen = port or (PORT if _is_free(PORT) else _free_port())
    if not _is_free(chosen):
        raise UserError(f"--port {chosen}: taken; leave --port away to get a free one")
    # MLflow opens on its pages for prompts and traces; ours are training runs.
    address = f"http://127.0.0.1:{chosen}/#/experiments?workflowType=machine_learning"
    print(f"MLflow: {address}  (Ctrl-C ends it)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(chosen)]
    command += ["--backend-store-uri", store.own_uri()]
    command += ["--default-artifact-root", str(store.artifacts(store.own_uri()))]
    command += ["--workers", "1"]
    os.chdir(project.root())
    os.execv(sys.executable, command)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
