"""The alternative to a framework: the loop that one would write by hand over the same model, data and optimiser."""

import time

import torch

from nudge import project
from nudge.config.schema import Config
from nudge.data.tokens import Tokens
from nudge.model.decoder import Decoder
from nudge.training import optimizers, schedules
from nudge.training.batches import ShuffledBatches
from nudge.training.pretraining import cross_entropy_sum


def seconds_of_steps(config: Config, vocabulary: int) -> list[float]:
    """Train without recording anything; return the seconds that each optimiser step took."""
    model = Decoder(config.model, vocabulary)
    model.initialise(torch.Generator().manual_seed(config.seed))
    optimizer = optimizers.build(config.optimizer, model)
    steps = config.trainer.max_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedules.factor(config.schedule, step, steps))
    tokens = Tokens.open(project.corpus() / "tokens" / "train")
    batches = iter(ShuffledBatches(tokens, config.model.context, config.trainer.batch_size, 1, config.seed))
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        batch = next(batches)
        logits_BTV = model(batch["inputs"], batch["documents"])
        loss = cross_entropy_sum(logits_BTV, batch["targets"]) / batch["targets_in_step"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.trainer.gradient_clip)
        optimizer.step()
        schedule.step()
        seconds.append(time.perf_counter() - begin)
    return seconds
