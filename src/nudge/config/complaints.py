"""Hydra's many-line complaints about an override, as one line with the nearest valid name."""

import re

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from nudge import project
from nudge.errors import UserError, did_you_mean


def from_hydra(error: Exception) -> UserError:
    """Turn what Hydra or OmegaConf raised while composing into one line: what, where, and the nearest valid thing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, OverrideParseException):
        return UserError(f"override '{error.override}' can't be read; write it KEY=VALUE, in quotes if it holds = or ,")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return UserError(f"{group}={name}: unknown {group} '{name}'{did_you_mean(name, error.options)}")
    if match := re.match(r"Could not override '(?:[^']*?@)?([^']*)'", lines[0]):
        key = match[1]
        if key.startswith("hydra."):
            return UserError(f"{key}: unknown key; `nudge train --cfg hydra` lists Hydra's own")
        return UserError(f"{key}: unknown key{did_you_mean(key, [*_keys(), *_groups()])}")
    if match := re.match(r"Key '([^']*)' is not in struct", lines[0]):
        return UserError(f"{match[1]}: unknown key{did_you_mean(match[1], _keys())}")
    return UserError(f"configuration: {' '.join(lines[:2])}")


def _groups() -> list[str]:
    return [folder.name for folder in project.conf().iterdir() if folder.is_dir()]


def _keys() -> list[str]:
    """List all keys that the configuration has without overrides, as `model.width`."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # a sweep asks from inside of Hydra
    try:
        with initialize_config_dir(str(project.conf()), version_base="1.3"):
            return list(_dotted(compose("config")))
    finally:
        GlobalHydra.instance().hydra = running


def _dotted(section: DictConfig, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in section:
        keys.append(f"{prefix}{key}")
        if OmegaConf.is_dict(value := section._get_node(key)):
            keys += _dotted(value, f"{prefix}{key}.")  # type: ignore[arg-type]
    return keys
