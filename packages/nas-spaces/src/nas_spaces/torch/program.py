"""Graphs of primitives with what can be known before they run."""

from collections import Counter

from attrs import frozen

from nas_spaces.primitives import Convolution, Graph, Norm, Primitive

__all__ = ["Program", "Step", "compile_graph"]


@frozen
class Step:
    """One primitive as it is run.

    ``in_place``: its input is needed by nothing else and may be overwritten. ``frees``: values
    that nothing needs afterwards. ``foldable``: a convolution that only a norm reads.
    """

    primitive: Primitive
    in_place: bool
    frees: tuple[str, ...]
    foldable: bool


Program = tuple[Step, ...]


def compile_graph(graph: Graph) -> Program:
    """Return the graph with what can be known before it runs."""
    readers = Counter(source for node in graph for source in node.inputs)
    made_by = {node.name: node for node in graph}
    normed = {node.inputs[0] for node in graph if isinstance(node, Norm)}
    last_use = {source: i for i, node in enumerate(graph) for source in node.inputs}
    steps = []
    for i, node in enumerate(graph):
        source = made_by.get(node.inputs[0])
        steps.append(
            Step(
                node,
                # What a norm returns is new memory that its backward pass does not read.
                in_place=isinstance(source, Norm) and readers[source.name] == 1,
                frees=tuple(name for name in dict.fromkeys(node.inputs) if last_use[name] == i),
                foldable=isinstance(node, Convolution)
                and node.name in normed
                and readers[node.name] == 1,
            )
        )
    return tuple(steps)
