"""A small chain from raw text to an assistant in the project of `tests.report.project`, each stage trained for real."""

from pathlib import Path

from nudge.config.composition import compose
from nudge.config.posttraining import PreferencesConfig
from nudge.data.curate import curate
from nudge.data.generate import generate
from nudge.data.tokenize import tokenize
from nudge.evaluation.curation import curation
from nudge.evaluation.evaluate import evaluate
from nudge.rating.preferences import preferences
from nudge.training.train import train
from tests.chain import working_in
from tests.conftest import TINY

REGISTERS = ("encyclopedia", "book", "code", "conversation", "paper", "web")
SHARE = 0.1  # of the facts that a register states: every word of it is then in some document for training
SHAPE = tuple(one for one in TINY if one.startswith("model."))
SHORT = (*SHAPE, "model.width=32", "model.mlp_width=64", "schedule.warmup_steps=2", "callbacks.samples.prompts=[]")
CHAT = ("data.sources.assistant.per_fact=0.1", "data.sources.assistant.refusals=200")
STEPS = {"finetune": (60, 64), "reward": (20, 32), "rlhf": (6, 32)}
RLHF = (
    "algorithm.prompts_per_iteration=8",
    "algorithm.group=4",
    "algorithm.validation_prompts=16",
    "algorithm.exact_prompts=0",
)


def make_chain(folder: Path) -> None:
    """Train the base model, the assistant, the reward model and the preferred assistant; rate and evaluate."""
    corpus, reports = folder / "corpus", folder / "reports"
    with working_in(folder):
        registers = [f"data.sources.{name}.share={SHARE}" for name in REGISTERS]
        steps = ("trainer.max_steps=60", "trainer.batch_size=128", "trainer.val_every_n_steps=30")
        sizes = ("data.sources.conversation.sayings=60", "data.mixture.tokens=120000")
        base = compose(["experiment=base", *SHORT, *registers, *sizes, *steps, *_folders(folder, "base")])
        mixture = corpus / "mixture"
        generate(base.data, folder, mixture / "raw")
        curate(base.data, mixture / "raw", mixture / "curated", mixture / "curation.json")
        tokenize(base.tokenizer, mixture / "curated", mixture / "tokens")
        curation(mixture, reports)
        train(base)
        _train(folder, "finetune", *CHAT)
        config = PreferencesConfig.model_validate(
            {
                "seed": 0,
                "pairs": 200,
                "held_out_pairs": 60,
                "temperature": 1.0,
                "max_new": 32,
                "raters": [{"flip_rate": 0.0}, {"flip_rate": 0.1}],
            }
        )
        preferences(folder / "models/finetune", folder / "data/ratings.jsonl", corpus / "preferences", reports, config)
        _train(folder, "reward", *CHAT)
        _train(folder, "rlhf", *CHAT, *RLHF)
        evaluate(folder / "models", reports)


def _train(folder: Path, stage: str, *more: str) -> None:
    steps, batch = STEPS[stage]
    trainer = (f"trainer.max_steps={steps}", f"trainer.batch_size={batch}", f"trainer.val_every_n_steps={steps // 2}")
    train(compose([f"stage={stage}", *SHORT, *trainer, *more, *_folders(folder, stage)]))


def _folders(folder: Path, stage: str) -> tuple[str, str]:
    return f"run_dir={folder}/run-{stage}", f"export_dir={folder}/models/{stage}"
