"""What a configuration gives the machine to do: rows of tokens in a step, steps in a run, validations between them."""

from dataclasses import dataclass
from itertools import chain, islice

from nudge.config.schema import Config
from nudge.config.stages import FinetuneStage, PretrainStage
from nudge.data import corpora
from nudge.errors import UserError
from nudge.model.flops import Shape
from nudge.training.batches import Batch
from nudge.training.datamodule import Corpus
from nudge.training.text import TextCorpus

# Optimiser steps whose batches are looked at: packing leaves nearly the same count of rows each time.
SAMPLED = 4


@dataclass(frozen=True)
class Workload:
    """The work of one run.

    Attributes:
        shape: the network's.
        context: positions in a row.
        steps: optimiser steps.
        rows: in an optimiser step, over all devices and micro-batches; a mean.
        targets: tokens that a step predicts; the other positions of its rows are padding. A mean.
        largest_rows: most rows in one forward and backward pass of one device.
        validations: during training; one more stands before the first step.
        validation_rows: in one validation.
        validation_largest_rows: most rows in one forward pass of a validation.
    """

    shape: Shape
    context: int
    steps: int
    rows: float
    targets: float
    largest_rows: int
    validations: int
    validation_rows: int
    validation_largest_rows: int


def check(config: Config) -> None:
    """Refuse what is not counted.

    Raises:
        UserError: the stage does not predict the next token of documents, or trains only some weights.
    """
    if not isinstance(config.stage, PretrainStage | FinetuneStage):
        raise UserError(
            f"stage={config.stage.name}: not counted; `nudge compute` counts stages that predict the next token of "
            "documents (stage=pretrain, stage=finetune)"
        )
    if isinstance(config.stage, FinetuneStage) and config.stage.lora is not None:
        raise UserError("stage.lora: not counted, since frozen weights take no gradient; leave it null")


def workload(config: Config) -> Workload:
    """Look at the batches that a run would train on; a corpus that isn't there yet is made.

    Raises:
        UserError: the stage does not predict the next token of documents, or the corpus can't be made.
    """
    check(config)
    assert isinstance(config.stage, PretrainStage | FinetuneStage)
    folder = corpora.prepare(config.data, config.tokenizer)
    is_text = config.data.is_text
    corpus = TextCorpus(config, folder) if is_text else Corpus(config, folder, config.stage.loss_on)
    settings = config.trainer
    devices = settings.devices * settings.num_nodes
    batches: list[Batch] = list(islice(corpus.train_dataloader(), SAMPLED * settings.accumulate))
    loaders = [corpus.val_dataloader()] if is_text else corpus.val_dataloader()
    held_out = [len(batch["inputs"]) for batch in chain.from_iterable(loaders)]
    return Workload(
        shape=Shape.of(config.model, corpus.tokenizer.get_vocab_size()),
        context=config.model.context,
        steps=settings.max_steps,
        rows=sum(len(batch["inputs"]) for batch in batches) / SAMPLED,
        targets=sum(batch["targets_in_step"] for batch in batches) / len(batches),
        largest_rows=-(-max(len(batch["inputs"]) for batch in batches) // devices),
        validations=settings.max_steps // min(settings.val_every_n_steps, settings.max_steps),
        validation_rows=sum(held_out),
        validation_largest_rows=-(-max(held_out) // devices),
    )
