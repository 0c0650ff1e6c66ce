"""A run's life: build everything from a `Config`, train, record, export."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import CSVLogger

from nudge import project
from nudge.config.schema import Config
from nudge.data.files import check_writable
from nudge.errors import UserError, did_you_mean
from nudge.model import saved
from nudge.training import checkpoints, machine
from nudge.training.callbacks.curves import Curves
from nudge.training.callbacks.gradients import Gradients
from nudge.training.callbacks.progress import progress
from nudge.training.callbacks.samples import Samples
from nudge.training.curve_files import export_curves
from nudge.training.datamodule import Corpus
from nudge.training.pretraining import Pretraining
from nudge.training.tracking.run import MlflowRun

MODEL_DIGEST = "model.digest"  # the tag by which later stages find the run that made a model
RUN_DIR = "NUDGE_RUN_DIR"  # tells the processes that rank 0 starts which folder it chose


def train(config: Config, watchers: Sequence[pl.Callback] = ()) -> Path:
    """Train one model and return the folder that it was exported to.

    The run is recorded in MLflow as FINISHED, or as FAILED with the reason if this raises.

    Args:
        config: the run.
        watchers: further callbacks, which see what the run's own have done.

    Raises:
        UserError: the configuration asks for something impossible; nothing has been recorded.
    """
    quiet_libraries()
    machine.check_devices(config.trainer)
    run_dir = _make_run_dir(config)
    pl.seed_everything(config.seed, verbose=False)
    corpus = Corpus(config, project.corpus())
    module = Pretraining(
        config,
        corpus.tokenizer.to_str(),
        corpus.tokenizer.get_vocab_size(),
        corpus.validation,
        corpus.operations,
    )
    if config.trainer.compile:
        module.model.compile()  # in place: wrapping the model would change the names of its weights
    samples = Samples(config.callbacks.samples.prompts, corpus.tokenizer)
    _check_monitor(config, corpus)
    run = MlflowRun(config)
    table = CSVLogger(run_dir, name="", version="metrics")
    trainer = build_trainer(config, run_dir, [run, table], [samples, *_pruning(config), *watchers])
    run.open()
    try:
        trainer.validate(module, corpus, verbose=False)  # the curves begin before the first step
        trainer.fit(module, corpus)
        trainer.save_checkpoint(run_dir / "checkpoints" / f"{checkpoints.LAST}.ckpt")
        if trainer.is_global_zero:
            table.save()
            _export(config, run_dir, Path(config.export_dir))
            run.set_tag(MODEL_DIGEST, saved.digest(Path(config.export_dir)))
            run.log_folder(run_dir / "checkpoints", "checkpoints")
    except BaseException as error:
        run.log_table(samples.table(), Samples.FILE)
        # Lightning turns Ctrl-C into SystemExit(1).
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
            run.close("KILLED", f"interrupted in step {trainer.global_step + 1}")
            raise KeyboardInterrupt from error
        run.close("FAILED", f"{type(error).__name__}: {error}")
        raise
    run.log_table(samples.table(), Samples.FILE)
    run.close("FINISHED")
    return Path(config.export_dir)


def build_trainer(
    config: Config, run_dir: Path, loggers: list[pl.loggers.Logger], more: Sequence[pl.Callback]
) -> pl.Trainer:
    """Make the Trainer that a configuration describes."""
    settings = config.trainer
    shown = progress(config.callbacks.progress.every_n_steps)
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,
        max_steps=settings.max_steps,
        max_epochs=-1,
        limit_train_batches=settings.max_steps * settings.accumulate,  # batches are endless; a bar needs an end
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.gradient_clip or None,
        val_check_interval=min(settings.val_every_n_steps, settings.max_steps) * settings.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=loggers,
        log_every_n_steps=1,
        callbacks=[
            Gradients(config.callbacks.gradients.every_n_steps),
            Curves(config.tracking.every_n_steps, machine.available_flops(settings)),
            shown,
            *checkpoints.callbacks(config.callbacks.checkpoint, run_dir / "checkpoints"),
            *more,
        ],
        use_distributed_sampler=False,  # our batches know their rank
        enable_progress_bar=isinstance(shown, ProgressBar),
        enable_model_summary=False,
        default_root_dir=run_dir,
    )


def _pruning(config: Config) -> list[pl.Callback]:
    """Return what a search watches its runs with."""
    if config.callbacks.pruning is None:
        return []
    from nudge.training.callbacks.pruning import Pruning  # imports Optuna

    return [Pruning(config.callbacks.pruning)]


def _export(config: Config, run_dir: Path, folder: Path) -> None:
    """Put the best weights and the curves where the next stages look for them."""
    best = run_dir / "checkpoints" / f"{checkpoints.BEST}.ckpt"
    saved.save(saved.load(best), folder)
    export_curves(run_dir / "metrics" / "metrics.csv", folder / "curves")


def _make_run_dir(config: Config) -> Path:
    """Make the run's folder, or take the one that rank 0 has made."""
    started_by_rank_0 = int(os.environ.get("LOCAL_RANK", 0)) > 0 and RUN_DIR in os.environ
    folder = Path(os.environ[RUN_DIR] if started_by_rank_0 else config.run_dir)
    os.environ[RUN_DIR] = str(folder.resolve())
    for place in (folder, Path(config.export_dir)):
        check_writable(place)
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _check_monitor(config: Config, corpus: Corpus) -> None:
    names = ["val/loss"]
    if corpus.operations:
        names += ["val/exact_match", *(f"val/exact_match/{name}" for name in corpus.operations)]
    monitor = config.callbacks.checkpoint.monitor
    if monitor not in names:
        raise UserError(f"callbacks.checkpoint.monitor={monitor}: no such metric{did_you_mean(monitor, names)}")


def quiet_libraries() -> None:
    """Silence notes of Lightning that concern nobody who reads a training log."""
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
