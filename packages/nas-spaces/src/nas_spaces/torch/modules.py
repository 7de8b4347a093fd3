"""Layer records as torch modules: one module runs any graph of primitives on its weights."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_spaces.errors import InputError
from nas_spaces.primitives import (
    INPUT,
    Activation,
    Add,
    Concatenate,
    Convolution,
    Dropout,
    Graph,
    Linear,
    Multiply,
    Norm,
    Pool,
    Primitive,
    Quantise,
    Select,
    Shuffle,
    SplitSoftmax,
    SplitSum,
    Zeros,
)
from nas_spaces.torch.norms import Norms, affine_of, used_weights
from nas_spaces.torch.program import Program, Step, compile_graph
from nas_spaces.torch.quantise import Pact

__all__ = ["LayerModule"]


class LayerModule(nn.Module):
    """Weights of one layer, or of several that share theirs, and how to run them.

    Args:
        graphs: the layers' graphs. Primitives of one name share one module, as large as the
            largest of them; the others use the first channels.
        affine: whether norms have a scale and a shift.

    Raises:
        InputError: graphs whose primitives of one name cannot share weights.
    """

    def __init__(self, graphs: Sequence[Graph], *, affine: bool = True) -> None:
        super().__init__()
        # The first layer's; whoever shares weights passes the program that is meant.
        self.program = compile_graph(graphs[0])
        self._residual_norms = _residual_norms(graphs)
        nodes: dict[str, list[Primitive]] = {}
        for graph in graphs:
            for node in graph:
                if node.weighted:
                    nodes.setdefault(node.name, []).append(node)
        for name, sharing in nodes.items():
            if hasattr(self, name) or "." in name:
                raise InputError(f"a primitive cannot be named {name!r}; choose another name")
            self.add_module(name, _largest(name, sharing, affine))

    def residual_norms(self) -> list[nn.BatchNorm2d]:
        """Return the norms whose output is only ever added to something that is no branch."""
        norms = [self.weighted(name) for name in self._residual_norms]
        return [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]

    def weighted(self, name: str) -> nn.Module:
        """Return the module that holds the weights of the primitive ``name``."""
        module = self._modules[name]
        assert module is not None
        return module

    def forward(
        self, x: Tensor, program: Program | None = None, norms: Norms | None = None
    ) -> Tensor:
        """Return the layer's output for images ``[n, c, h, w]``.

        Args:
            x: the layer's input; it is not written to.
            program: the compiled graph to run; None runs the first layer's.
            norms: norm statistics to use in place of the module's own; dropout is then off.
        """
        values = {INPUT: x}
        out = x
        for step in self.program if program is None else program:
            out = _RUN[type(step.primitive)](self, step, values, norms)
            for name in step.frees:
                del values[name]
            values[step.primitive.name] = out
        return out


def _residual_norms(graphs: Sequence[Graph]) -> tuple[str, ...]:
    """Return the names of norms whose output is added to something, in each graph that has them.

    Where all that is added comes from norms, the last of them is the shortcut's and not named:
    without it nothing would be left. Nor would it where layers that share a norm have no shortcut.
    """
    ends_branch: dict[str, bool] = {}
    for graph in graphs:
        norms = [node.name for node in graph if isinstance(node, Norm)]
        branches: set[str] = set()
        for node in graph:
            if isinstance(node, Add):
                added = [name for name in node.inputs if name in norms]
                branches.update(added[:-1] if len(added) == len(node.inputs) else added)
        for name in norms:
            ends_branch[name] = ends_branch.get(name, True) and name in branches
    return tuple(name for name, ends in ends_branch.items() if ends)


def _largest(name: str, nodes: Sequence[Primitive], affine: bool) -> nn.Module:
    """Return a torch module that is large enough for all ``nodes``."""
    first = nodes[0]
    if any(type(node) is not type(first) for node in nodes):
        raise InputError(f"primitives named {name!r} are of different kinds; they share no weights")
    if isinstance(first, Convolution):
        convolutions = [node for node in nodes if isinstance(node, Convolution)]
        fixed = {(node.kernel, node.stride, node.bias) for node in convolutions}
        groups = {node.groups for node in convolutions}
        # Of one channel, a depthwise convolution has one group as a dense one has.
        depthwise = all(node.groups == node.in_channels for node in convolutions)
        if len(fixed) > 1 or (len(groups) > 1 and not depthwise):
            raise InputError(
                f"convolutions named {name!r} differ in kernel, stride, groups or bias; "
                "they share no weights"
            )
        return nn.Conv2d(
            max(node.in_channels for node in convolutions),
            max(node.out_channels for node in convolutions),
            first.kernel,
            first.stride,
            first.kernel // 2,
            groups=max(groups),
            bias=first.bias,
        )
    if isinstance(first, Linear):
        linears = [node for node in nodes if isinstance(node, Linear)]
        if len({node.bias for node in linears}) > 1:
            raise InputError(f"linear maps named {name!r} differ in bias; they share no weights")
        return nn.Linear(
            max(node.in_features for node in linears),
            max(node.out_features for node in linears),
            bias=first.bias,
        )
    if isinstance(first, Quantise):
        return Pact(node.bits for node in nodes if isinstance(node, Quantise))
    assert isinstance(first, Norm)
    channels = max(node.channels for node in nodes if isinstance(node, Norm))
    return nn.BatchNorm2d(channels, affine=affine)


Values = dict[str, Tensor]


def _call(module: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = module(x)
    return out


def _convolution(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Convolution)
    x = values[node.inputs[0]]
    if norms is not None and node.name in norms.folded:
        weight, bias = norms.folded[node.name]
        return F.conv2d(x, weight, bias, node.stride, node.kernel // 2, 1, node.groups)
    module = layer.weighted(node.name)
    assert isinstance(module, nn.Conv2d)
    whole = module.in_channels == node.in_channels and module.out_channels == node.out_channels
    unused = _unused_taps(node, x)
    if whole and node.weight_bits is None and not unused:
        return _call(module, x)
    used, bias_used = used_weights(node, module)
    if unused:
        used = used[:, :, unused:-unused, unused:-unused]
    padding = node.kernel // 2 - unused
    return F.conv2d(x, used, bias_used, node.stride, padding, 1, node.groups)


def _unused_taps(node: Convolution, x: Tensor) -> int:
    """Return how many of a depthwise kernel's outer rings only ever meet padding, in training.

    On a CPU the backward pass of a kernel that is larger than its image takes several times that
    of the same convolution without them. Weights, outputs and gradients are the same: theirs is 0.
    """
    if node.groups == 1 or x.device.type != "cpu" or not torch.is_grad_enabled():
        return 0
    # A traced program keeps no condition.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return 0
    # From any place of an image of s x s pixels the farthest pixel is s - 1 away.
    return max(node.kernel // 2 - (max(x.shape[-2:]) - 1), 0)


def _linear(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Linear)
    module = layer.weighted(node.name)
    assert isinstance(module, nn.Linear)
    x = values[node.inputs[0]].flatten(1)
    if module.in_features == node.in_features and module.out_features == node.out_features:
        return _call(module, x)
    bias = None if module.bias is None else module.bias[: node.out_features]
    return F.linear(x, module.weight[: node.out_features, : node.in_features], bias)


def _norm(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Norm)
    module = layer.weighted(node.name)
    assert isinstance(module, nn.BatchNorm2d)
    x = values[node.inputs[0]]
    if norms is not None:
        return x if node.inputs[0] in norms.folded else norms.apply(node, module, x)
    if module.num_features == node.channels:
        return _call(module, x)
    assert module.running_mean is not None
    assert module.running_var is not None
    if module.training and module.momentum is None:
        raise InputError(
            f"norm {node.name!r} has momentum=None, and its channels are sliced: an average over "
            "all batches is of one width; give a number, or recalibrate by nas_spaces.torch.Norms"
        )
    weight, bias = affine_of(node, module)
    return F.batch_norm(
        x,
        module.running_mean[: node.channels],
        module.running_var[: node.channels],
        weight,
        bias,
        training=module.training,
        momentum=module.momentum or 0.0,
        eps=module.eps,
    )


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hswish": F.hardswish,
    "swish": F.silu,
    "sigmoid": torch.sigmoid,
    "hsigmoid": F.hardsigmoid,
}


def _activation(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Activation)
    x = values[node.inputs[0]]
    # With folded norms the input is the convolution's output, new memory as well.
    if step.in_place and node.kind == "relu":
        return torch.relu_(x)
    if step.in_place and node.kind == "relu6":
        return F.relu6(x, inplace=True)
    return _ACTIVATIONS[node.kind](x)


def _pool(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Pool)
    x = values[node.inputs[0]]
    if node.kind == "global":
        return x.mean((2, 3), keepdim=True)
    padding = (node.kernel - 1) // 2
    if node.kind == "max":
        return F.max_pool2d(x, node.kernel, node.stride, padding)
    return F.avg_pool2d(x, node.kernel, node.stride, padding, count_include_pad=False)


def _quantise(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Quantise)
    module = layer.weighted(node.name)
    assert isinstance(module, Pact)
    out: Tensor = module(values[node.inputs[0]], node.bits)
    return out


def _add(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    first, *others = (values[name] for name in step.primitive.inputs)
    for other in others:
        first = first + other
    return first


def _multiply(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    source, factor = step.primitive.inputs
    return values[source] * values[factor]


def _concatenate(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    return torch.cat([values[name] for name in step.primitive.inputs], dim=1)


def _select(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Select)
    return values[node.inputs[0]][:, node.start :: node.step]


def _shuffle(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Shuffle)
    return F.channel_shuffle(values[node.inputs[0]], node.groups)


def _split_sum(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, SplitSum)
    return _split(values[node.inputs[0]], node.splits).sum(2)


def _split_softmax(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, SplitSoftmax)
    return _split(values[node.inputs[0]], node.splits).softmax(2).flatten(1, 2)


def _split(x: Tensor, splits: int) -> Tensor:
    """Return ``[n, channels / splits, splits, h, w]``."""
    return x.reshape(x.shape[0], -1, splits, *x.shape[2:])


def _dropout(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    node = step.primitive
    assert isinstance(node, Dropout)
    x = values[node.inputs[0]]
    return F.dropout(x, node.rate, training=layer.training and norms is None)


def _zeros(layer: LayerModule, step: Step, values: Values, norms: Norms | None) -> Tensor:
    x = values[step.primitive.inputs[0]]
    return x.new_zeros((x.shape[0], *step.primitive.shape))


_RUN: dict[type, Callable[[LayerModule, Step, Values, Norms | None], Tensor]] = {
    Activation: _activation,
    Add: _add,
    Concatenate: _concatenate,
    Convolution: _convolution,
    Dropout: _dropout,
    Linear: _linear,
    Multiply: _multiply,
    Norm: _norm,
    Pool: _pool,
    Quantise: _quantise,
    Select: _select,
    Shuffle: _shuffle,
    SplitSoftmax: _split_softmax,
    SplitSum: _split_sum,
    Zeros: _zeros,
}
