"""What a search that learns takes over from an earlier run: its critic and its pool.

It is copied into the run when that begins, which then needs the earlier one no more.
"""

import shutil
from pathlib import Path
from typing import Any

import attrs

from nas_cli.config import read_config
from nas_cli.folder import CONFIG, MAIN_SEARCH, RESULT, SEARCH_SETTINGS, check_run, search_folder
from nas_cli.ppo_settings import CriticConfig
from nas_cli.run import read_json, write_json
from nas_cli.run_spaces import stored_space
from nas_cli.typed import structure
from nas_cli.workshop import Workshop
from nas_samplers import KnowledgePool
from nas_search.rl import Critic
from nas_spaces import InputError
from nas_spaces.jsonable import from_jsonable

__all__ = ["POOL", "check_warm_start", "keep_warm_start", "warm_critic", "warm_pool"]

POOL = "pool.safetensors"
"""In a search's folder: what its candidates have left."""

CRITIC = "critic.json"
# What `stored_space` reads a space from.
SPACE = ("space.json", "data.json")


def check_warm_start(shop: Workshop) -> list[str]:
    """Return what the run begins with, in lines for a person.

    Raises:
        InputError: a warm start that the run has no use for, that is none, or of which nothing
            fits.
    """
    config = shop.run.config
    if config.warm_start is None:
        return []
    wants_pool = config.search.evaluation == "standalone" and config.candidates.pool
    wants_critic = config.search.searcher == "ppo" and config.critic is not None
    if not wants_pool and not wants_critic:
        raise InputError(
            f"--warm-start {config.warm_start}: method {config.method} with these settings has "
            "neither a critic nor a pool to begin with; leave it out, or take --method fnas"
        )
    lines = []
    if wants_critic:
        assert config.critic is not None
        earlier = warm_critic(shop)
        if earlier is None:
            takes = "--set critic=none takes the pool alone" if wants_pool else "leave it out"
            raise InputError(
                f"--warm-start {config.warm_start}: its search has no critic; name a run that has "
                f"one, such as of --method fnas, or {takes}"
            )
        lines.append(_critic_line(shop, config.critic, earlier))
    if wants_pool:
        pool = warm_pool(shop)
        if pool is None and not lines:
            raise InputError(
                f"--warm-start {config.warm_start}: its search has left no pool, and no critic is "
                "asked for; name a run of --method fnas, or leave it out"
            )
        lines.append(_pool_line(shop, pool))
    return lines


def _critic_line(shop: Workshop, settings: CriticConfig, earlier: Critic) -> str:
    critic = Critic(shop.space, rng=shop.rng(), **attrs.asdict(settings))
    path = shop.run.config.warm_start
    try:
        shared = critic.inherit(earlier)
    except InputError as error:
        raise InputError(
            f"--warm-start {path}: {error}; --set critic=none takes the pool alone"
        ) from error
    return f"critic:   {shared} of {sum(shop.space.num_options)} tokens from {path}"


def _pool_line(shop: Workshop, pool: KnowledgePool | None) -> str:
    path, space = shop.run.config.warm_start, shop.space
    if pool is None:
        return f"pool:     empty, {path} has none"
    fitting = pool.fitting(space)
    if not fitting:
        first = pool.blocks[0]
        entering, leaving, stride = first.key.shape
        raise InputError(
            f"--warm-start {path}: none of the {len(pool):,} blocks of its pool has the channels "
            f"and the stride of a block of space {space.name!r}; the first is {first.name!r} of "
            f"space {first.space!r}, {entering} -> {leaving} channels of stride {stride}. Name a "
            "run on a space with such blocks, or --set candidates.pool=false"
        )
    return f"pool:     {fitting:,} of {len(pool):,} blocks from {path} fit"


def keep_warm_start(shop: Workshop) -> None:
    """Copy what the run begins with into it, unless that is done."""
    folder = _kept(shop)
    if shop.run.config.warm_start is None or (folder / CRITIC).exists():
        return
    source = _earlier(shop)
    folder.mkdir(parents=True, exist_ok=True)
    copied = [*(source / name for name in SPACE), _search(source) / POOL]
    for path in copied:
        if path.exists():
            shutil.copyfile(path, folder / path.name)
    # Last, and also where there is no critic: it says that all is there.
    write_json(folder / CRITIC, _record(source))


def warm_critic(shop: Workshop) -> Critic | None:
    """Return the critic of the earlier run, None where there is no such run, or it had none.

    Raises:
        InputError: a run that has no finished search.
    """
    if shop.run.config.warm_start is None:
        return None
    folder = _kept(shop)
    if (folder / CRITIC).exists():
        record = read_json(folder / CRITIC)
        if record:
            record = read_json(folder / CRITIC, "space", "settings", "state")
    else:
        folder = _earlier(shop)
        record = _record(folder)
    if not record:
        return None
    settings = structure(record["settings"], CriticConfig)
    space = stored_space(folder, record["space"])
    # All that it draws is replaced by the state.
    critic = Critic(space, rng=shop.rng(), **attrs.asdict(settings))
    try:
        critic.load_state_dict(from_jsonable(record["state"]))
    except InputError as error:
        raise InputError(
            f"--warm-start {shop.run.config.warm_start}: its critic cannot be read, of an earlier "
            f"version of nas-search perhaps ({error}); --set critic=none begins without one"
        ) from error
    return critic


def warm_pool(shop: Workshop) -> KnowledgePool | None:
    """Return the pool of the earlier run, None where there is no such run, or it had none.

    Raises:
        InputError: a damaged pool, or a run that has no finished search.
    """
    if shop.run.config.warm_start is None:
        return None
    folder = _kept(shop)
    path = folder / POOL if (folder / CRITIC).exists() else _search(_earlier(shop)) / POOL
    if not path.exists():
        return None
    try:
        return KnowledgePool.load(path)
    except InputError as error:
        raise InputError(
            f"--warm-start {shop.run.config.warm_start}: {error}; --set candidates.pool=false "
            "begins without one"
        ) from error


def _kept(shop: Workshop) -> Path:
    return shop.run.path / "warm"


def _search(run: Path) -> Path:
    return search_folder(run, MAIN_SEARCH)


def _earlier(shop: Workshop) -> Path:
    """Return the earlier run.

    Raises:
        InputError: no run, or one whose search has not finished.
    """
    assert shop.run.config.warm_start is not None
    path = Path(shop.run.config.warm_start)
    check_run(path)
    if not (_search(path) / RESULT).exists():
        raise InputError(f"--warm-start {path} holds no finished search; go on with that run first")
    return path


def _record(run: Path) -> dict[str, Any]:
    """Return space, settings and state of the critic of a run, nothing where it has none."""
    settings = read_json(_search(run) / SEARCH_SETTINGS).get("critic")
    state = read_json(_search(run) / "history.json", "state")["state"].get("critic")
    if settings is None or state is None:
        return {}
    return {"space": read_config(run / CONFIG).space, "settings": settings, "state": state}
