"""A Slurm cluster of this one machine, on loopback, with all its files in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")

# No systemd, no cgroups: what a container has.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Install Slurm if it is not there; say why there can't be a cluster here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    if all(shutil.which(program) for program in PROGRAMS):
        return None
    if not shutil.which("apt-get"):
        return "Slurm is not installed, and there is no apt-get"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", "apt-get install -y --no-install-recommends slurm-wlm munge"):
        try:
            done = subprocess.run(
                command.split(), env=environment, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{command}: took more than 5 minutes"
        if done.returncode:
            return f"{command}: {(done.stderr.strip() or 'failed').splitlines()[-1]}"
    return None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster; give the environment variables that its commands need. Its daemons end with the block."""
    host = socket.gethostname().partition(".")[0]
    controller_port, node_port = _free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=host, folder=folder, controller_port=controller_port, node_port=node_port, cpus=os.cpu_count()
        )
    )
    variables = {"SLURM_CONF": str(configuration)}
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            with (folder / f"{command[0]}.out").open("wb") as output:
                daemons.append(
                    subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT)
                )
            _wait_for(folder / "munge.socket")
        _wait_for_node(variables)
        yield variables
    finally:
        _empty_queue(variables)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _empty_queue(variables: dict[str, str]) -> None:
    """End all jobs: their processes would outlive the daemons."""
    environment = os.environ | variables
    subprocess.run(["scancel", "--me"], env=environment, capture_output=True, check=False)
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline:
        done = subprocess.run(
            ["squeue", "--noheader", "--me"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode or not done.stdout.strip():
            return
        time.sleep(0.5)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.1)


def _wait_for_node(variables: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    command = ["sinfo", "--noheader", "--format=%t"]
    while True:
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.5)
