"""The stages of a run: train a supernet, search it, retrain the winner.

Each stage writes its result file last. A stage whose result is there is not repeated; one that
was killed goes on from its checkpoint.
"""

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from rich.console import Console

import nas_search
from nas_cli.config import SearchConfig, TrainConfig
from nas_cli.limits import build_limits, cost_tables
from nas_cli.progress import stage
from nas_cli.run import MAIN_SEARCH, Run, read_json, write_json
from nas_samplers import (
    ImageData,
    Optimiser,
    Phase,
    SupernetError,
    Uniform,
    load_data,
    load_weights,
    run_network,
    train,
    wrong_answers,
)
from nas_spaces import (
    FeasibleSet,
    History,
    InputError,
    SearchSpace,
    Table,
    derive_seed,
    from_json,
    published,
    replace_file,
    to_json,
)
from nas_spaces.torch import Network, Supernet, save_network

__all__ = ["Workshop", "retrain", "search", "train_supernet"]

# One stream of randomness for each use.
INITIAL, PATHS, ORDER, SEARCH, RANDOM, RECALIBRATION, BASELINES, ALONE = range(8)


@frozen(eq=False, slots=False)
class Workshop:
    """A run with what its stages need, loaded on first use.

    ``run``: the run. ``console``: where progress is shown.
    """

    run: Run
    console: Console

    @cached_property
    def device(self) -> torch.device:
        """The device that the run computes on."""
        name = self.run.config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if self.run.config.threads is not None:
            torch.set_num_threads(self.run.config.threads)
        try:
            device = torch.device(name)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"--device {name!r} cannot be used: {reason}") from error
        return device

    @cached_property
    def _bare_space(self) -> SearchSpace:
        """The space at its own resolution and number of classes."""
        name = self.run.config.space
        if Path(name).suffix == ".json":
            if not Path(name).is_file():
                raise InputError(f"--space: there is no file {name}")
            return from_json(Path(name).read_text())
        return published.load(name)

    @cached_property
    def data(self) -> ImageData:
        """The images."""
        config = self.run.config
        images = config.images
        data = load_data(
            config.data,
            resolution=config.resolution or self._bare_space.input_shape[1],
            device=self.device,
            seed=config.seed,
            held_out=images.held_out,
            subset=images.subset,
            root=None if images.root is None else Path(images.root),
            upscale=images.upscale,
            workers=images.workers,
        )
        known = self.run.path / "data.json"
        if known.exists():
            before = read_json(known)["digest"]
            if before != data.digest:
                raise InputError(
                    f"the images of {config.data!r} are not those that {self.run.path} was begun "
                    "with; restore them, or begin another run"
                )
        else:
            record = {
                "digest": data.digest,
                "classes": list(data.classes),
                "mean": list(data.mean),
                "std": list(data.std),
                "train": len(data.train),
                "held_out": len(data.held_out),
                "test": len(data.test),
                "notes": list(data.notes),
            }
            write_json(known, record)
        return data

    @cached_property
    def space(self) -> SearchSpace:
        """The space for these images."""
        config, data = self.run.config, self.data
        if Path(config.space).suffix == ".json":
            space = self._bare_space
            if space.input_shape != data.shape or space.num_classes != len(data.classes):
                raise InputError(
                    f"space {config.space} takes images {space.input_shape} of "
                    f"{space.num_classes} classes; {config.data!r} has {data.shape} of "
                    f"{len(data.classes)}"
                )
            return space
        return published.load(
            config.space,
            classes=len(data.classes),
            resolution=data.shape[1],
            in_channels=data.shape[0],
        )

    def seed(self, *path: int) -> int:
        """Return the seed of one use of randomness."""
        return derive_seed(self.run.config.seed, *path)

    def rng(self, *path: int) -> np.random.Generator:
        """Return the numpy generator of one use of randomness."""
        return np.random.default_rng(self.seed(*path))

    def torch_rng(self, *path: int) -> torch.Generator:
        """Return the torch generator of one use of randomness."""
        return torch.Generator().manual_seed(self.seed(*path))

    def precision(self, config: TrainConfig) -> str:
        """Return what ``auto`` means on this device."""
        if config.precision != "auto":
            return config.precision
        return "bfloat16" if self.device.type == "cuda" else "float32"

    def supernet(self) -> Supernet:
        """Return the supernet with its initial weights."""
        config = self.run.config.supernet
        return Supernet(
            self.space,
            generator=self.torch_rng(INITIAL),
            affine=config.affine,
            scheme=config.scheme,
        )

    def say(self, text: str) -> None:
        """Tell the person something."""
        self.console.print(text, highlight=False, markup=False)


def _steps(config: TrainConfig, images: int) -> int:
    return max(round(config.epochs * images / config.batch_size), 1)


def _phase(name: str, config: TrainConfig, sampler: Uniform, images: int) -> Phase:
    return Phase(
        name,
        sampler,
        steps=_steps(config, images),
        optimiser=Optimiser(
            kind=config.optimiser,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            schedule=config.schedule,
            warmup=config.warmup,
            clip=config.clip,
        ),
        batch_size=config.batch_size,
        micro_batch=config.micro_batch,
        label_smoothing=config.label_smoothing,
    )


def _train(
    shop: Workshop,
    network: torch.nn.Module,
    phase: Phase,
    images: Any,
    config: TrainConfig,
    *,
    seed: int,
    name: str,
    title: str,
    checkpoint: Path,
) -> dict[str, Any]:
    """Run the one training loop with progress and events; return its summary as JSON values."""
    begun = time.monotonic()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    shop.run.event({"event": "stage", "stage": name, "status": "begun"})
    with stage(shop.console, title, phase.steps, "steps") as update:

        def on_record(record: dict[str, Any]) -> None:
            shop.run.event({"event": "step", "stage": name, **record})
            update(record["step"], f"loss {record['loss']:.3f}")

        summary = train(
            network,
            [phase],
            images,
            seed=seed,
            device=shop.device,
            precision="bfloat16" if shop.precision(config) == "bfloat16" else "float32",
            channels_last=config.channels_last,
            checkpoint=checkpoint,
            checkpoint_every=config.checkpoint_every,
            on_record=on_record,
        )
    seconds = round(time.monotonic() - begun, 3)
    shop.run.event({"event": "stage", "stage": name, "status": "finished", "seconds": seconds})
    return {
        "steps": summary.steps,
        "loss": summary.loss,
        "path_counts": [list(row) for row in summary.path_counts],
        "seconds": seconds,
        "device": _device_name(shop.device),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def train_supernet(shop: Workshop) -> None:
    """Train the supernet, unless that is done."""
    run = shop.run
    result = run.train / "summary.json"
    if result.exists():
        shop.say("supernet: trained already")
        return
    replace_file(run.path / "space.json", to_json(shop.space))
    config, images = run.config.train, shop.data.train
    supernet = shop.supernet()
    if run.config.weights is not None:
        kept = load_weights(supernet, Path(run.config.weights))
        shop.say(f"supernet: starts from {run.config.weights}, {len(kept)} tensors are new")
    phase = _phase("supernet", config, Uniform(shop.space, rng=shop.rng(PATHS)), len(images))
    summary = _train(
        shop,
        supernet,
        phase,
        images,
        config,
        seed=shop.seed(ORDER),
        name="train",
        title="supernet",
        checkpoint=run.train / "checkpoint.safetensors",
    )
    sizes = shop.space.num_options
    counts = [row[:size] for row, size in zip(summary["path_counts"], sizes, strict=True)]
    summary["path_counts"] = [
        row + [0] * (size - len(row)) for row, size in zip(counts, sizes, strict=True)
    ]
    write_json(result, summary)


def _trained_supernet(shop: Workshop) -> Supernet:
    if not (shop.run.train / "summary.json").exists():
        raise InputError(
            f"{shop.run.path} holds no trained supernet; "
            f"`nas train --resume --out {shop.run.path}` trains it"
        )
    supernet = shop.supernet().to(shop.device)
    load_weights(supernet, shop.run.train / "checkpoint.safetensors")
    if shop.run.config.train.channels_last:
        supernet.to(memory_format=torch.channels_last)
    return supernet.eval()


def search(shop: Workshop, name: str, limits: tuple[str, ...], config: SearchConfig) -> None:
    """Search the trained supernet within ``limits``, unless that is done."""
    run, folder = shop.run, shop.run.search(name)
    result = folder / "result.json"
    asked = {"limits": list(limits), "search": attrs.asdict(config)}
    known = folder / "search.json"
    if known.exists() and read_json(known) != asked:
        raise InputError(
            f"search {name!r} of {run.path} was made with other settings: {read_json(known)}; "
            "choose another --name"
        )
    if result.exists():
        shop.say(f"search {name}: finished already")
        return
    feasible = build_limits(shop.space, limits)
    write_json(known, asked)
    tables = cost_tables(shop.space)
    begun = time.monotonic()
    run.event({"event": "stage", "stage": f"search/{name}", "status": "begun"})
    supernet = _trained_supernet(shop)
    budget = config.population * config.generations
    searcher = nas_search.Evolution(
        shop.space,
        rng=shop.rng(SEARCH),
        feasible=feasible,
        population=config.population,
        parents=config.parents,
        crossover=config.crossover,
        mutation=config.mutation,
        mutation_probability=config.mutation_probability,
    )
    baseline = nas_search.Random(
        shop.space, rng=shop.rng(RANDOM), feasible=feasible, batch=config.population
    )
    recalibration, batches = _fixed_images(shop, config)
    results = {}
    for label, one in (("history", searcher), ("random", baseline)):
        title = f"search {name}" + (", random baseline" if label == "random" else "")
        results[label] = _search(
            shop,
            folder,
            label,
            one,
            supernet,
            recalibration,
            batches,
            config,
            feasible,
            tables,
            budget,
            title,
        )
    history, randoms = results["history"].history, results["random"].history
    winner = nas_search.best(history, ["error", "macs"])
    record = {
        "name": name,
        "limits": [str(limit) for limit in feasible.limits],
        "winner": history.archs[winner].tolist(),
        "values": {key: float(history.column(key)[winner]) for key in ("error", *tables)},
        "evaluated": len(history),
        "stopped": results["history"].stopped,
        "random_best_error": float(randoms.column("error").min()),
        "space_size": shop.space.size,
        "feasible": feasible.count() if len(feasible.limits) <= 1 else None,
        "recalibration_images": sum(len(x) for x in recalibration),
        "evaluation_images": sum(len(y) for _, y in batches),
    }
    run.event(
        {
            "event": "stage",
            "stage": f"search/{name}",
            "status": "finished",
            "seconds": round(time.monotonic() - begun, 3),
        }
    )
    write_json(result, record)


def _fixed_images(
    shop: Workshop, config: SearchConfig
) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return the recalibration and evaluation batches that every architecture sees."""
    train, held_out = shop.data.train, shop.data.held_out
    size = min(config.recalibration_batch, len(train))
    count = min(config.recalibration_images, len(train)) // size
    recalibration = (
        [x for x, _ in train.fixed_batches(size, count=count, seed=shop.seed(RECALIBRATION))]
        if count
        else []
    )
    size = min(config.evaluation_batch, len(held_out))
    wanted = config.evaluation_images
    if 0 < wanted < len(held_out):
        count = max(wanted // size, 1)
        return recalibration, list(
            held_out.fixed_batches(size, count=count, seed=shop.seed(RECALIBRATION, 1))
        )
    return recalibration, list(held_out.fixed_batches(size))


def _search(
    shop: Workshop,
    folder: Path,
    label: str,
    searcher: nas_search.Evolution | nas_search.Random,
    supernet: Supernet,
    recalibration: list[torch.Tensor],
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    config: SearchConfig,
    feasible: FeasibleSet,
    tables: dict[str, Table],
    budget: int,
    title: str,
) -> nas_search.SearchResult:
    """Run one searcher, with its state saved after every generation."""
    saved = folder / f"{label}.json"
    state = read_json(saved) if saved.exists() else None
    done = 0
    lowest = 1.0
    with stage(shop.console, title, budget, "architectures") as update:

        def on_progress(finished: int) -> None:
            nonlocal done
            done += finished
            update(done, f"best held-out top-1 {100 * (1 - lowest):.2f} %")

        def keep(state: dict[str, Any]) -> None:
            nonlocal done, lowest
            write_json(saved, state)
            replace_file(folder / f"{label}.csv", state["history"])
            rows = History.from_csv(state["history"])
            done, lowest = len(rows), float(rows.column("error").min())
            update(done, f"best held-out top-1 {100 * (1 - lowest):.2f} %")

        error = SupernetError(
            supernet,
            recalibration,
            batches,
            fold=config.fold,
            channels_last=shop.run.config.train.channels_last,
            on_progress=on_progress,
        )
        result = nas_search.search(
            searcher,
            [error],
            space=shop.space,
            budget=budget,
            feasible=feasible,
            record=list(tables.values()),
            resume=state,
            checkpoint=keep,
        )
    text = result.history.to_csv()
    replace_file(folder / f"{label}.csv", text)
    if label == "history" and folder.name == MAIN_SEARCH:
        replace_file(shop.run.path / "history.csv", text)
    return result


def retrain(shop: Workshop, name: str, weights: Path | None = None) -> dict[str, Any]:
    """Train the winner of a search and random architectures from scratch, unless that is done.

    The networks are trained on the training and the held-out images and tested on the test
    images, which nothing has seen before.
    """
    run, folder = shop.run, shop.run.search(name)
    result = folder / "retrain" / "result.json"
    if result.exists():
        shop.say(f"retrain {name}: finished already")
        done: dict[str, Any] = read_json(result)
        return done
    if not (folder / "result.json").exists():
        raise InputError(
            f"{run.path} holds no finished search {name!r}; `nas search {run.path} --name {name}` "
            "makes one"
        )
    found = read_json(folder / "result.json")
    limits = tuple(read_json(folder / "search.json")["limits"])
    feasible = build_limits(shop.space, limits)
    winner = np.array(found["winner"], dtype=np.int64)
    archs = [winner, *_baselines(shop, feasible, winner, run.config.baselines)]
    records = []
    for index, arch in enumerate(archs):
        label = "winner" if index == 0 else f"random-{index}"
        records.append(_retrain_one(shop, name, label, index, arch, len(archs), weights, found))
    comparison = _compare(records)
    record = {"candidates": [r["record"] for r in records], "comparison": comparison}
    write_json(result, record)
    return record


def _baselines(
    shop: Workshop, feasible: FeasibleSet, winner: NDArray[np.int64], count: int
) -> list[NDArray[np.int64]]:
    """Return random networks within the limits, other than the winner and than each other."""
    rng = shop.rng(BASELINES)
    seen = {shop.space.canonical([winner]).tobytes()}
    chosen: list[NDArray[np.int64]] = []
    for arch in feasible.sample(20 * count, rng=rng) if count else ():
        key = shop.space.canonical([arch]).tobytes()
        if key not in seen and len(chosen) < count:
            seen.add(key)
            chosen.append(arch)
    return chosen


def _retrain_one(
    shop: Workshop,
    name: str,
    label: str,
    index: int,
    arch: NDArray[np.int64],
    total: int,
    weights: Path | None,
    found: dict[str, Any],
) -> dict[str, Any]:
    run = shop.run
    folder = run.search(name) / "retrain" / label
    result = folder / "result.json"
    if result.exists():
        finished: dict[str, Any] = read_json(result)
        return finished
    config, images = run.config.retrain, shop.data.train_and_held_out
    space = shop.space.fix(arch)
    network = Network(
        space, generator=shop.torch_rng(ALONE, index), scheme=run.config.supernet.scheme
    )
    if weights is not None and index == 0:
        kept = load_weights(network, weights)
        shop.say(f"winner: starts from {weights}, {len(kept)} tensors are new")
    phase = attrs.evolve(
        _phase("alone", config, Uniform(space, rng=shop.rng(ALONE, index)), len(images)),
        forward=run_network,
    )
    checkpoint = folder / "checkpoint.safetensors"
    _train(
        shop,
        network,
        phase,
        images,
        config,
        seed=shop.seed(ALONE, index, 1),
        name=f"retrain/{name}/{label}",
        title=f"retrain {label} ({index + 1} of {total})",
        checkpoint=checkpoint,
    )
    network.eval()
    wrong = wrong_answers(network, shop.data.test, device=shop.device)
    if index == 0:
        save_network(network, run.best(name))
    costs = {key: int(table([arch])[0]) for key, table in cost_tables(shop.space).items()}
    record = {
        "name": label,
        "architecture": arch.tolist(),
        "top1": round(100 * (1 - float(wrong.mean())), 4),
        "test_images": len(wrong),
        **costs,
        "supernet_error": found["values"]["error"] if index == 0 else None,
    }
    value = {"record": record}
    write_json(result, value)
    # The result stands; the state behind it is not needed any more.
    checkpoint.unlink(missing_ok=True)
    return value


def _compare(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what the search was worth against the random architectures."""
    top1 = [record["record"]["top1"] for record in records]
    if len(top1) < 3:
        return None
    found = nas_search.difference(top1[0], top1[1:])
    size = f"{abs(found.difference):.2f} percentage points"
    many = f"{len(top1) - 1} random architectures within the same limits"
    if not found.measurable:
        verdict = f"no measurable difference between the winner and {many}"
    elif found.difference > 0:
        verdict = f"the winner is {size} better than {many} on average"
    else:
        verdict = f"the winner is {size} worse than {many} on average"
    return {
        "difference": round(found.difference, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "confidence": found.confidence,
        "verdict": verdict,
    }
