"""One run in several processes: how rank 0 starts the others, and what happens when one dies.

Lightning's own launcher repeats the command line, which in a sweep would be the whole sweep, and kills rank 0 outright
when another rank dies, so that nobody is left to say how the run ended. This one starts each rank with the resolved
configuration, and lets the rank that is left tell the story.
"""

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
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from nudge.config.schema import TrainerConfig
from nudge.errors import UserError
from nudge.orphans import PARENT

CHECKPOINT = "NUDGE_CHECKPOINT"  # tells the other ranks what rank 0 found to continue from; empty: nothing
# A rank that loses another fails by itself within seconds, or hangs in a collective for many minutes.
SECONDS_TO_FAIL = 20.0


def is_child() -> bool:
    """Say whether rank 0 of a run on this machine started this process."""
    return CHECKPOINT in os.environ and int(os.environ.get("LOCAL_RANK", 0)) > 0


class Launcher(_SubprocessScriptLauncher):
    """Start ranks 1, 2, … of this machine with a run's `config.yaml`, and watch over them."""

    noticed: threading.Event
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
            own = {"LOCAL_RANK": str(rank), PARENT: str(os.getpid())}
            self.procs.append(subprocess.Popen(command, env={**os.environ, **places, **own}))
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def _watch(self) -> None:
        """Wait for a rank that dies; if this one then hangs, end the run in its place."""
        while not (dead := [proc for proc in self.procs if proc.poll()]):
            if not self.procs or all(proc.returncode == 0 for proc in self.procs):
                return
            time.sleep(0.2)
        if self.noticed.wait(SECONDS_TO_FAIL):
            return  # this rank tells by itself how the run ends
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


def check(config: TrainerConfig) -> None:
    """Check that this process is the first of its run, or one that the first has started.

    Raises:
        UserError: something else starts processes.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) if "SLURM_PROCID" in os.environ else 1
    if "TORCHELASTIC_RUN_ID" in os.environ or (tasks > 1 and config.devices > 1):
        raise UserError(
            "trainer.devices: nudge starts its processes itself; call `nudge train` once, without torchrun, and in "
            "Slurm as one task with several CPUs or GPUs"
        )
    if config.num_nodes > 1:
        raise UserError(f"trainer.num_nodes={config.num_nodes}: runs on one machine only, so far; write 1")


def environment() -> ClusterEnvironment:
    """Return how the processes of a run find each other.

    Named outright: Lightning would take Slurm's variables, which are in the environment of everything that is typed
    inside an allocation, for a description of this run, and wait for tasks that do not exist.
    """
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
