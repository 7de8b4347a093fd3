"""The third stage: train the winner of a search from scratch, and random architectures beside it.

The networks are trained on the training and the held-out images. This is the only place that
looks at the test images, once for each network, when it is finished.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import nas_search
from nas_cli.config import differences, override
from nas_cli.folder import RESULT, SEARCH_SETTINGS, cure
from nas_cli.group import command_of
from nas_cli.limits import METRICS, RECORDED, build_limits, parse_limit
from nas_cli.references import NetworkAlone, check_reference, reference
from nas_cli.run import Run, read_json, write_json
from nas_cli.run_spaces import check_winner
from nas_cli.searchers import ERROR
from nas_cli.settings import Config
from nas_cli.stage_search import judge_again
from nas_cli.stage_train import inherited_text
from nas_cli.training import DIVERGED, fit, training_of
from nas_cli.workshop import ALONE, BASELINES, Workshop
from nas_samplers import Phase, Uniform, load_weights, wrong_answers
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.torch import Network, save_network

__all__ = ["check_retrain", "retrain", "retrain_settings"]

Arch = NDArray[np.int64]


def retrain_settings(
    run: Run, name: str, given: Iterable[Mapping[str, Any]], weights: Path | None
) -> tuple[Config, Path | None]:
    """Return the settings and the winner's first weights of one retraining.

    Args:
        run: the run.
        name: of the search.
        given: what was asked for, over the settings of the run or of the retraining that is there.
        weights: where the winner starts; None for new weights, or what was begun with.

    Raises:
        InputError: no finished search of that name, a setting that is not of a retraining, or a
            retraining that was begun with other settings.
    """
    begun = run.search(name) / SEARCH_SETTINGS
    if not (run.search(name) / RESULT).exists():
        again = command_of("search", run.path, name) + " --resume" * begun.exists()
        raise InputError(f"{run.path} holds no finished search {name!r}; `{again}` makes one")
    if not begun.exists():
        raise InputError(
            f"{run.path} holds no finished search {name!r}: {begun.name} is missing; "
            f"{cure(begun)}, or write an answer from a table once more by `nas specialize`"
        )
    known, folder = _settings_file(run, name), run.retrain(name)
    given = list(given)
    asked = override(run.config, given)
    for key in differences(run.config, asked):
        if key not in ("baselines", "references") and not key.startswith("retrain."):
            raise InputError(
                f"a retraining can change baselines, references and retrain.* only, not {key}; "
                "begin another run for that"
            )
    if not known.exists():
        return asked, weights
    before = read_json(known, "weights")
    begun_with = before.pop("weights")
    stored = override(run.config, [before])
    asked = override(stored, given)
    changed = list(differences(stored, asked).values())
    if weights is not None and str(weights) != begun_with:
        changed.append(f"weights is {begun_with or 'none'}, received {weights}")
    diverged = list(folder.glob(f"*/{DIVERGED}"))
    if changed and diverged and not list(folder.glob("*/result.json")):
        # No network is finished, and by the old settings none will be: begin again.
        for path in (known, *diverged, *folder.glob("*/checkpoint.safetensors")):
            path.unlink()
        return asked, weights or (None if begun_with is None else Path(begun_with))
    if changed:
        raise InputError(
            f"the winner of search {name!r} of {run.path} is retrained with other settings: "
            f"{'; '.join(changed)}; leave them out, or search again under another --name"
        )
    return asked, None if begun_with is None else Path(begun_with)


def _settings_file(run: Run, name: str) -> Path:
    return run.retrain(name) / "settings.json"


def check_retrain(shop: Workshop) -> None:
    """Refuse settings that a retraining could not begin with.

    Raises:
        InputError: what is wrong.
    """
    _phase(shop, shop.space, 0)
    for one in shop.run.config.references:
        check_reference(shop.space, one)


def _phase(shop: Workshop, space: SearchSpace, index: int) -> Phase:
    training = training_of(shop.run.config.retrain, shop.device)
    # Checkpoints name the sampler: nothing is drawn without choices, but those of before had this.
    sampler = Uniform(space, rng=shop.rng(ALONE, index))
    return attrs.evolve(training.phase(shop.data.train_and_held_out), sampler=sampler)


def retrain(shop: Workshop, name: str, weights: Path | None = None) -> None:
    """Train the winner of a search and random architectures from scratch, unless that is done.

    Args:
        shop: the run, with the settings of this retraining.
        name: of the search, which has finished.
        weights: where the winner starts.

    Raises:
        InputError: weights that do not fit the winner.
    """
    run = shop.run
    result = run.retrain(name) / RESULT
    if result.exists():
        shop.say(f"retrain {name}: finished already")
        return
    if _settings_file(run, name).exists():
        # All networks are trained by the settings that the first was begun with.
        run.config, weights = retrain_settings(run, name, (), weights)
    config = run.config
    found = read_json(run.search(name) / RESULT, "winner", "values")
    winner = check_winner(run.search(name) / RESULT, found["winner"], shop.space)
    drawn = _baselines(shop, name, winner)
    if len(drawn) < config.baselines:
        shop.say(f"retrain {name}: only {len(drawn)} other networks are within the limits")
    networks = [
        NetworkAlone("winner", shop.space.fix(winner), winner),
        *(
            NetworkAlone(f"random-{index}", shop.space.fix(arch), arch)
            for index, arch in enumerate(drawn, start=1)
        ),
        *(reference(shop.space, winner, kind) for kind in config.references),
    ]
    begun = list((run.retrain(name) / "winner").glob("*.*"))
    if weights is not None and not begun:
        load_weights(_network(shop, shop.space.fix(winner), 0), weights)
    if not _settings_file(run, name).exists():
        record = {
            "baselines": config.baselines,
            "references": list(config.references),
            "retrain": attrs.asdict(config.retrain),
            "weights": None if weights is None else str(weights),
        }
        write_json(_settings_file(run, name), record)
    networks = _judged(shop, name, networks, found)
    limits = read_json(run.search(name) / SEARCH_SETTINGS, "limits")["limits"]
    # Bits are compared, whatever is limited.
    more = ["bitops"] if _has_bits(shop.space) else []
    names = dict.fromkeys((*RECORDED, *(parse_limit(text).metric for text in limits), *more))
    candidates = [
        _retrain_one(shop, name, one, index, len(networks), weights if index == 0 else None, names)
        for index, one in enumerate(networks)
    ]
    top1 = [record["top1"] for record in candidates[: len(drawn) + 1]]
    comparison = _compare(*top1)
    if comparison is not None and weights is not None:
        comparison["verdict"] += "; only the winner began from weights"
    write_json(result, {"candidates": candidates, "comparison": comparison})


def _has_bits(space: SearchSpace) -> bool:
    return FeasibleSet(space).attainable(METRICS["bitops"](space))[1] > 0


def _judged(
    shop: Workshop, name: str, networks: list[NetworkAlone], found: Mapping[str, Any]
) -> list[NetworkAlone]:
    """Return networks with the supernet's errors, where the search that ``found`` has asked it.

    Networks that are trained have theirs in their records; without the supernet's weights, which a
    retraining does not need, only the winner has one.
    """
    run = shop.run
    if ERROR not in found["values"] or found.get("evaluation") == "standalone":
        return networks
    left = {
        one.name: one.arch
        for one in networks[1:]
        if one.arch is not None
        and run.checkpoint.exists()
        and not (run.retrain(name) / one.name / RESULT).exists()
    }
    errors = dict(zip(left, judge_again(shop, name, list(left.values())), strict=True))
    errors["winner"] = found["values"][ERROR]
    return [attrs.evolve(one, supernet_error=errors.get(one.name)) for one in networks]


def _baselines(shop: Workshop, name: str, winner: Arch) -> list[Arch]:
    """Return random networks within the limits, other than the winner and than each other."""
    wanted = shop.run.config.baselines
    if not wanted:
        return []
    limits = tuple(read_json(shop.run.search(name) / SEARCH_SETTINGS, "limits")["limits"])
    try:
        feasible = build_limits(shop.space, limits)
    except InputError as error:
        # The winner is within them: of a corner that random rows do not find.
        raise InputError(
            f"random networks beside the winner: {error}; or train none, by --set baselines=0"
        ) from error
    drawn = nas_search.Random(
        shop.space, rng=shop.rng(BASELINES), feasible=feasible, batch=wanted + 1
    ).ask()
    same = (shop.space.canonical(drawn) == shop.space.canonical([winner])).all(axis=1)
    return list(drawn[~same][:wanted])


def _network(shop: Workshop, space: SearchSpace, index: int) -> Network:
    """Return a stand-alone network with its initial weights."""
    return Network(
        space,
        generator=shop.torch_rng(ALONE, index),
        scheme=shop.run.config.supernet.scheme,
    )


def _retrain_one(
    shop: Workshop,
    name: str,
    alone: NetworkAlone,
    index: int,
    total: int,
    weights: Path | None,
    metrics: Iterable[str],
) -> dict[str, Any]:
    """Train and test one network, the winner where ``index`` is 0; return its record."""
    run = shop.run
    folder = run.retrain(name) / alone.name
    result = folder / RESULT
    values = {key: int(METRICS[key](alone.network)([[]])[0]) for key in metrics}
    recorded = {key: values.pop(key) for key in RECORDED}
    if result.exists():
        # What an older version has finished may lack some.
        return {**read_json(result), "costs": values}
    network = _network(shop, alone.network, index)
    checkpoint = folder / "checkpoint.safetensors"
    if weights is not None and not checkpoint.exists():
        loaded = load_weights(network, weights)
        shop.say(f"{alone.name}: starts from {weights}, {inherited_text(loaded)}")
    fit(
        shop,
        network,
        [_phase(shop, network.space, index)],
        shop.data.train_and_held_out,
        run.config.retrain,
        seed=shop.seed(ALONE, index, 1),
        name=f"retrain/{name}/{alone.name}",
        title=f"retrain {alone.name} ({index + 1} of {total})",
        checkpoint=checkpoint,
    )
    with shop.console.status(f"testing {alone.name} on {len(shop.data.test):,} images"):
        wrong = wrong_answers(network.eval(), shop.data.test, device=shop.device)
    if index == 0:
        save_network(network, run.best(name))
    record = {
        "name": alone.name,
        "architecture": None if alone.arch is None else alone.arch.tolist(),
        "top1": round(100 * (1 - float(wrong.mean())), 4),
        "test_images": len(wrong),
        **recorded,
        "costs": values,
        "supernet_error": alone.supernet_error,
    }
    write_json(result, record)
    # The result stands; the state behind it is not needed any more.
    checkpoint.unlink(missing_ok=True)
    return record


def _compare(winner: float, *randoms: float) -> dict[str, Any] | None:
    """Return what the search was worth against the random architectures, by their top-1 [%]."""
    if len(randoms) < 2:
        return None
    found = nas_search.difference(winner, randoms)
    size = f"{abs(found.difference):.2f} percentage points"
    many = f"{len(randoms)} random architectures within the same limits"
    alike = found.spread == 0  # how far two of them differ by chance is then not known
    if not found.measurable:
        verdict = f"no measurable difference between the winner and {many}"
        verdict += ", which score alike" if alike else ""
    elif found.difference > 0:
        verdict = f"the winner is {size} better than {many} on average"
    else:
        verdict = f"the winner is {size} worse than {many} on average"
    return {
        "difference": round(found.difference, 4),
        "low": None if alike else round(found.low, 4),
        "high": None if alike else round(found.high, 4),
        "confidence": found.confidence,
        "verdict": verdict,
    }
