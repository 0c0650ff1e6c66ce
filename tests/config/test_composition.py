"""Wrong requests are refused before anything runs, in one line with the nearest right thing."""

import pytest

from nudge.config.composition import compose, config_hash
from nudge.errors import UserError


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.widht=32", "model.widht: unknown key (did you mean 'model.width'?)"),
        ("optimiser=sgd", "optimiser: unknown key (did you mean 'optimizer'?)"),
        ("optimizer=adam", "optimizer=adam: unknown optimizer 'adam' (did you mean 'adamw'?)"),
        ("experiment=basline", "experiment=basline: unknown experiment 'basline'"),
        ("+model.widht=32", "model.widht: unknown key (did you mean 'width'?)"),
        ("+nonsense=1", "nonsense: unknown key"),
        ("model.width=sixty", "model.width = 'sixty': input should be a valid integer"),
        ("model.width=64.5", "model.width = 64.5: input should be a valid integer"),
        ("trainer.max_steps=0", "trainer.max_steps = 0: input should be greater than or equal to 1"),
        ("trainer.compile=7", "trainer.compile = 7: input should be a valid boolean"),
        ("model.heads=5", "width 64 is not divisible by heads 5; heads=4 would be"),
        ("model.width=6", "odd head width 3"),
        ("model.kv_heads=3", "heads 2 is not divisible by kv_heads 3"),
        ("data.sources.calculator.max_operand=1000", "less than or equal to 99"),
        ("data.test_fraction=0.95", "leave nothing to train on"),
        ("trainer=ddp_cpu trainer.batch_size=33", "batch_size 33 does not divide"),
        ("a=b=c=", "override 'a=b=c=' can't be read"),
    ],
)
def test_wrong_override_is_one_line_with_the_nearest_right_thing(override: str, expected: str) -> None:
    # Hydra answers a misspelt key with several lines and no suggestion (hydra exits 1 and prints "not in struct").
    with pytest.raises(UserError) as caught:
        compose(override.split())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_free_tags_are_allowed_and_nothing_else_is() -> None:
    assert compose(["+tracking.tags.idea=wider"]).tracking.tags == {"idea": "wider"}


def test_two_runs_never_share_a_folder() -> None:
    # Runs started in the same second used to overwrite each other's folder (hydra #1817).
    assert len({compose().run_dir for _ in range(50)}) == 50


def test_the_hash_covers_what_is_computed_and_not_where_it_goes() -> None:
    base = config_hash(compose())
    assert config_hash(compose(["run_dir=elsewhere", "tracking.run_name=other"])) == base
    assert config_hash(compose(["seed=1"])) != base
    assert config_hash(compose(["optimizer.lr=0.021"])) != base


@pytest.mark.parametrize("group", ["data", "optimizer", "schedule", "trainer", "experiment"])
def test_every_choice_of_every_group_composes(group: str) -> None:
    from nudge import project

    choices = sorted(path.stem for path in (project.conf() / group).glob("*.yaml"))
    assert choices
    for choice in choices:
        if choice != "default":
            assert compose([f"{group}={choice}"]).seed == 0
