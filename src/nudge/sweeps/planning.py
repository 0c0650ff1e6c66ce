"""From what was typed to jobs: overrides with their values, and whether each combination could run at all."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from nudge.config.complaints import from_hydra
from nudge.config.composition import config_hash, resolve
from nudge.config.schema import Config
from nudge.errors import UserError

# What the sweep decides: its jobs always go on from what is in their folder.
RESUME = ("resume=auto", "resume=never")


@dataclass(frozen=True)
class Plan:
    """What was asked for.

    Attributes:
        swept: overrides with several values, by key.
        fixed: overrides that all jobs share.
        anew: whether an unfinished sweep of the same kind is to be left alone (`resume=never`).
    """

    swept: Mapping[str, Override]
    fixed: tuple[str, ...]
    anew: bool


@dataclass(frozen=True)
class Checked:
    """One combination: its configuration, or why there can't be one."""

    config: Config | None
    error: str | None

    @property
    def hash(self) -> str:
        """Tell apart what would be computed; not where it goes."""
        return self.error or "" if self.config is None else config_hash(self.config)


def plan(context: HydraContext, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> Plan:
    """Divide `hydra.sweeper.params` and the command line into what varies and what does not; the latter wins.

    Raises:
        UserError: there is nothing to vary.
    """
    texts = [f"{key}={value}" for key, value in (params or {}).items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    last: dict[str, Override] = {}
    for override in parser.parse_overrides([*texts, *(text for text in arguments if text not in RESUME)]):
        key = override.get_key_element()
        last.pop(key, None)
        last[key] = override
    swept = {key: override for key, override in last.items() if override.is_sweep_override()}
    fixed = [_text(key, override) for key, override in last.items() if key not in swept]
    return Plan(swept, tuple(fixed), "resume=never" in arguments)


def combinations(swept: Mapping[str, Override]) -> list[dict[str, str]]:
    """Return every combination of the values, the last key varying fastest.

    Raises:
        UserError: an interval has no values that could be counted.
    """
    for key, override in swept.items():
        if not override.is_discrete_sweep():
            raise UserError(
                f"{key}={override.get_value_string()}: a grid needs single values, as in {key}=1,2,3; "
                "hydra/sweeper=optuna searches intervals"
            )
    values = [list(override.sweep_string_iterator()) for override in swept.values()]
    return [dict(zip(swept, chosen, strict=True)) for chosen in itertools.product(*values)]


def check(context: HydraContext, master: DictConfig, overrides: Sequence[str]) -> Checked:
    """Compose a job's configuration, and check it against the schema, without running it."""
    try:
        composed = context.config_loader.load_sweep_config(master, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = 0
            composed.hydra.runtime.output_dir = ""
            before = HydraConfig.instance().cfg
            HydraConfig.instance().set_config(composed)
            try:
                del composed["hydra"]
                return Checked(resolve(composed), None)
            finally:
                HydraConfig.instance().cfg = before
    except UserError as error:
        return Checked(None, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        return Checked(None, str(from_hydra(error)))


def quoted(value: object) -> str:
    """Write an override's value that may hold anything, such as a path with spaces or `=`."""
    return QuotedString(str(value), Quote.single).with_quotes()


def _text(key: str, override: Override) -> str:
    return (
        key
        if override.is_delete() and "=" not in (override.input_line or "")
        else (f"{key}={override.get_value_element_as_str()}")
    )
