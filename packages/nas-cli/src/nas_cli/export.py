"""The retrained winner as a program that other tools run: for torch alone, or in ONNX.

By torch's own exporters. Images are normalised inside, so that who runs the program needs no
number of the training; what only this program would know, the names of the classes, goes with it.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_cli.folder import MAIN_SEARCH, RESULT, best_folder, check_name, check_run, search_folder
from nas_cli.group import command_of
from nas_cli.run import read_json
from nas_spaces import InputError, replace_file
from nas_spaces.torch import Network, load_network
from nas_spaces.torch.quantise import is_level

__all__ = ["export_winner", "show_export"]

# The file inside a ``.pt2`` that names the classes; ONNX has them as metadata ``classes``.
CLASSES = "classes.json"

TRACED = 2  # images from which a program is made; one would be taken for the only number
CHECKED = 16  # images on which it is compared with the network
# Of the largest logit, what runtimes may differ by; and what in the mean, where numbers near the
# middle of two levels may be rounded to either.
TOLERANCE, ROUNDED = 1e-3, 0.1


class _Deployed(nn.Module):
    """A network that takes images float ``[n, c, h, w]`` in [0, 1]."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, network: Network, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        # Not `mean`: the exporter to ONNX calls values of its own by such names.
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.pixel_mean) / self.pixel_std)
        return logits


def export_winner(run: Path, form: str, name: str = MAIN_SEARCH) -> dict[str, Any]:
    """Write the retrained winner of a search beside its weights; return what was written.

    Args:
        run: the run's folder.
        form: ``pt2``, a program of torch.export, or ``onnx``. Both take any number of images.
        name: of the search.

    Returns:
        ``file``, its size in ``bytes``, the shape of an ``image``, the names of the ``classes``,
        whether ``bits`` are simulated, and what the program gave when it was read back: the largest
        ``difference`` from the network in any logit, the ``largest`` logit in size, and on how many
        (``same_class``) of so many random images (``checked``) the class is the network's.

    Raises:
        InputError: no run, no retrained winner, a file that is damaged, ONNX without the extra, or
            a program that does not give what the network gives.
    """
    check_run(run)
    check_name(name)
    folder = best_folder(run, name)
    if not folder.is_dir():
        searched = (search_folder(run, name) / RESULT).exists()
        command = "retrain" if searched else "search"
        raise InputError(
            f"{run} holds no retrained winner of search {name!r}; "
            f"`{command_of(command, run, name)}`{'' if searched else ' and then `nas retrain`'} "
            "makes one"
        )
    data = read_json(run / "data.json", "mean", "std", "classes")
    try:
        network = load_network(folder)
    except InputError as error:
        done = search_folder(run, name) / "retrain"
        raise InputError(
            f"{folder}: {error}; remove {done / RESULT} and {done / 'winner'} and train it again "
            f"by `{command_of('retrain', run, name)}`"
        ) from error
    image = network.space.input_shape
    module = _Deployed(network, data["mean"], data["std"]).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((CHECKED, *image), generator=generator)
    content, run_program = FORMATS[form](module, images[:TRACED], data["classes"])
    given, expected = run_program(images), module(images)
    record = {
        "file": str(folder / f"model.{form}"),
        "bytes": len(content),
        "image": list(image),
        "classes": data["classes"],
        "bits": any(is_level(name) for name in network.state_dict()),
        "checked": CHECKED,
        "same_class": int((given.argmax(1) == expected.argmax(1)).sum()),
        "difference": float((given - expected).abs().max()),
        "largest": float(expected.abs().max()),
    }
    mean = float((given - expected).abs().mean())
    # Written so that a number that is none is refused as well.
    near = record["difference"] <= TOLERANCE * record["largest"]
    if not near and not (record["bits"] and mean <= ROUNDED * record["largest"]):
        raise InputError(
            f"the program that torch made of {folder} differs from the network by "
            f"{record['difference']:.1e} in a logit (largest: {record['largest']:.2f}); nothing is "
            "written: use another --format, or another version of torch"
        )
    replace_file(folder / f"model.{form}", content)
    return record


def _pt2(
    module: nn.Module, images: Tensor, classes: list[str]
) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    program = torch.export.export(module, (images,), dynamic_shapes=(_any_number(),))
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={CLASSES: json.dumps(classes)})
    content = file.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


def _onnx(
    module: nn.Module, images: Tensor, classes: list[str]
) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter is made of it
    except ModuleNotFoundError as error:
        raise InputError(
            f"ONNX needs {error.name}: pip install 'nas-cli[onnx]'; --format pt2 needs torch alone"
        ) from error
    program = torch.onnx.export(
        module,
        (images,),
        dynamo=True,
        dynamic_shapes=(_any_number(),),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None  # where no file is named
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine
    program.model.metadata_props["classes"] = json.dumps(classes)
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(logits)

    return content, run


FORMATS = {"pt2": _pt2, "onnx": _onnx}


def _any_number() -> dict[int, Any]:
    return {0: torch.export.Dim("n")}


def show_export(record: dict[str, Any]) -> str:
    """Return in words what `export_winner` wrote."""
    shape = ", ".join(map(str, record["image"]))
    classes = ", ".join(record["classes"][:4]) + (", ..." if len(record["classes"]) > 4 else "")
    colour = "grey" if record["image"][0] == 1 else "RGB"
    lines = [
        f"program: {record['file']} ({record['bytes'] / 2**20:.2f} MiB)",
        f"takes:   {colour} images float32 [n, {shape}] from 0 to 1, any number n; normalises them",
        f"gives:   logits float32 [n, {len(record['classes'])}] of {classes}",
        f"checked: on {record['checked']} random images logits differ from the network's by "
        f"{record['difference']:.1e} at most (largest: {record['largest']:.2f}), the class is the "
        f"same on {record['same_class']}",
    ]
    if record["bits"]:
        lines.append(
            "bits:    simulated; where a number is rounded to another level, logits differ by more"
        )
    return "\n".join(lines)
