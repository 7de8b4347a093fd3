"""All costs of a space at once."""

from nas_hw.count import bitops_cost, macs_cost, params_cost
from nas_hw.memory import peak_memory_table, traffic_table
from nas_hw.operations import LayerMemory, layer_memory
from nas_spaces import SearchSpace, Table
from nas_spaces.primitives import Graph, Shape
from nas_spaces.table import each_layer

__all__ = ["tables"]


def tables(space: SearchSpace) -> dict[str, Table]:
    """Return all tables of ``space`` by name, built in one pass over its graphs.

    These are those of `macs`, `params`, `bitops`, `traffic` and `peak_memory`, in this order.

    >>> from nas_spaces import published
    >>> space, arch = published.architecture("spos-readme")
    >>> for name, table in tables(space).items():
    ...     print(name, table([arch])[0], table.unit)
    macs 322918720 multiply-adds
    params 3558464 parameters
    bitops 0 bit operations
    traffic 67198688 bytes
    peak_memory 2609152 bytes
    """
    costs = (macs_cost(), params_cost(), bitops_cost())

    def look(graph: Graph, shape: Shape) -> tuple[list[int | float], LayerMemory]:
        return [cost.of(graph, shape) for cost in costs], layer_memory(graph, shape)

    layers = list(each_layer(space, look))
    memory = [[seen[1] for seen in block] for block in layers]
    counted = [
        Table.from_layers(
            space, cost.name, cost.unit, [[seen[0][number] for seen in block] for block in layers]
        )
        for number, cost in enumerate(costs)
    ]
    everything = [*counted, traffic_table(space, memory), peak_memory_table(space, memory)]
    return {table.name: table for table in everything}
