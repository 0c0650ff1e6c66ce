"""One run in several processes: how rank 0 starts the others, and what happens when one dies.

Lightning's own launcher repeats the command line, which in a sweep would be the whole sweep, and kills rank 0 outright
when another rank dies, so that nobody is left to say how the run ended. This one starts each rank with the resolved
configuration, and lets the rank that is left tell the story.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from nudge.config.schema import TrainerConfig

CHECKPOINT = "NUDGE_CHECKPOINT"  # tells the other ranks what rank 0 found to continue from; empty: nothing
PR_SET_PDEATHSIG = 1
# A rank that loses another fails by itself within seconds, or hangs in a collective for many minutes.
SECONDS_TO_FAIL = 20.0


def is_child() -> bool:
    """Say whether rank 0 of a run on this machine started this process."""
    return CHECKPOINT in os.environ and int(os.environ.get("LOCAL_RANK", 0)) > 0


def die_with_parent() -> None:
    """Let the system kill this process when the one that started it ends in any way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Launcher(_SubprocessScriptLauncher):
    """Start ranks 1, 2, … of this machine with a run's `config.yaml`, and watch over them."""

    config_file: Path
    on_death: Callable[[str], None]

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other ranks, if that is not done, and call the function."""
        if not self.procs and not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        _set_num_threads_if_needed(self.num_processes)
        return function(*args, **kwargs)

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        places = {
            "MASTER_ADDR": self.cluster_environment.main_address,
            "MASTER_PORT": str(self.cluster_environment.main_port),
            "NODE_RANK": str(self.cluster_environment.node_rank()),
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
        }
        command = [sys.executable, "-m", "nudge", "train", "--config", str(self.config_file)]
        for rank in range(1, self.num_processes):
            self.procs.append(subprocess.Popen(command, env={**os.environ, **places, "LOCAL_RANK": str(rank)}))
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def _watch(self) -> None:
        """Wait for a rank that dies; if this one then hangs, end the run in its place."""
        while not (dead := [proc for proc in self.procs if proc.poll()]):
            if not self.procs or all(proc.returncode == 0 for proc in self.procs):
                return
            time.sleep(0.2)
        time.sleep(SECONDS_TO_FAIL)
        if not self.procs:
            return  # this rank has noticed and left
        self.on_death(f"rank {self.procs.index(dead[0]) + 1} died ({_cause(dead[0].returncode)})")
        self.end()
        os._exit(1)

    def end(self) -> None:
        """See to it that no other rank is left; those that end well do so by themselves."""
        procs, self.procs = self.procs, []
        deadline = time.monotonic() + 5
        for proc in procs:
            try:
                proc.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()


def _cause(returncode: int) -> str:
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"


class DataParallel(DDPStrategy):
    """Lightning's DDP with our launcher."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class ShardedDataParallel(ModelParallelStrategy):
    """Lightning's FSDP2 with our launcher."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


def strategy(config: TrainerConfig) -> Strategy | str:
    """Return the strategy that a configuration names."""
    if config.strategy == "ddp":
        return DataParallel()
    if config.strategy == "fsdp":
        return ShardedDataParallel(data_parallel_size=config.devices * config.num_nodes, tensor_parallel_size=1,
                                   save_distributed_checkpoint=False)  # fmt: skip
    return "auto"


def environment(config: TrainerConfig) -> ClusterEnvironment:
    """Return how the processes of a run find each other.

    Slurm's variables are in the environment of everything that is typed inside an allocation, also of a run that has
    nothing to do with its tasks; Lightning would wait for those tasks.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    tasks, processes = int(os.environ.get("SLURM_NTASKS", 0)), config.devices * config.num_nodes
    if processes > 1 and tasks == processes:
        return SLURMEnvironment(auto_requeue=False)  # we save and leave by ourselves, and `resume=auto` goes on
    if processes > 1 and tasks:
        print(f"SLURM_NTASKS={tasks}, but trainer.devices × num_nodes = {processes}: starting the processes here",
              file=sys.stderr)  # fmt: skip
    return LightningEnvironment()


@contextmanager
def as_it_was() -> Iterator[None]:
    """Leave a process as it was before a run, for the next job of a sweep: environment, threads, process group."""
    before, threads = dict(os.environ), torch.get_num_threads()
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)
