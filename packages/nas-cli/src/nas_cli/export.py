"""The retrained winner as a program that other tools run: for torch alone, or in ONNX.

By torch's own exporters. Images are normalised inside, so that who runs the program needs no
number of the training; what only this program would know, the names of the classes, goes with it.
"""

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_cli.folder import MAIN_SEARCH, best_folder, check_name, check_run
from nas_cli.group import command_of
from nas_cli.run import read_json
from nas_spaces import InputError, replace_file
from nas_spaces.torch import Network, load_network

__all__ = ["export_winner", "show_export"]

# The file inside a ``.pt2`` that names the classes; ONNX has them as metadata ``classes``.
CLASSES = "classes.json"

CHECKED = 16  # images on which a program is compared with the network


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
        and what the program gave when it was read back: the largest ``difference`` from the network
        in any logit, the ``largest`` logit in size, and of how many random images (``checked``).

    Raises:
        InputError: no run, no retrained winner, a file that is damaged, or ONNX without the extra.
    """
    check_run(run)
    check_name(name)
    folder = best_folder(run, name)
    if not folder.is_dir():
        raise InputError(
            f"{run} holds no retrained winner of search {name!r}; "
            f"`{command_of('retrain', run, name)}` trains it"
        )
    data = read_json(run / "data.json", "mean", "std", "classes")
    network = load_network(folder)
    module = _Deployed(network, data["mean"], data["std"]).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((CHECKED, *network.space.input_shape), generator=generator)
    write = _onnx if form == "onnx" else _pt2
    with torch.no_grad():
        content, given = write(module, images, data["classes"])
        expected = module(images)
    path = folder / f"model.{form}"
    replace_file(path, content)
    return {
        "file": str(path),
        "bytes": len(content),
        "image": list(network.space.input_shape),
        "classes": data["classes"],
        "checked": CHECKED,
        "difference": float((given - expected).abs().max()),
        "largest": float(expected.abs().max()),
    }


def _pt2(module: nn.Module, images: Tensor, classes: list[str]) -> tuple[bytes, Tensor]:
    program = torch.export.export(module, (images,), dynamic_shapes=(_any_number(),))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={CLASSES: json.dumps(classes)})
    content = file.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()(images)


def _onnx(module: nn.Module, images: Tensor, classes: list[str]) -> tuple[bytes, Tensor]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter is made of it
    except ImportError as error:
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
    program.model.metadata_props["classes"] = json.dumps(classes)
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return content, torch.from_numpy(logits)


def _any_number() -> dict[int, Any]:
    return {0: torch.export.Dim("n")}


def show_export(record: dict[str, Any]) -> str:
    """Return in words what `export_winner` wrote."""
    shape = ", ".join(map(str, record["image"]))
    classes = ", ".join(record["classes"][:4]) + (", ..." if len(record["classes"]) > 4 else "")
    return "\n".join(
        [
            f"program: {record['file']} ({record['bytes'] / 2**20:.2f} MiB)",
            f"takes:   images float32 [n, {shape}] from 0 to 1, any number n; normalises them",
            f"gives:   logits float32 [n, {len(record['classes'])}] of {classes}",
            f"checked: on {record['checked']} random images logits differ from the network's by "
            f"{record['difference']:.1e} at most (largest: {record['largest']:.2f})",
        ]
    )
