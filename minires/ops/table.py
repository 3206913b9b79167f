"""Every differentiable operation with inputs to try it on: one table, from which all checks of operations come.

`minires gradcheck` compares each entry's gradients with finite differences on the user's machine. The project's own
tests compare each entry with torch, the kernel sets with each other, types and memory orders; and they fail when an
operation has no entry here, so that a new operation is checked by everything at once.
"""

from minires.ops import draws, draws_network
from minires.ops.draws import (
    along_one,
    distinct,
    elementwise,
    nonzero,
    normal,
    one_of,
    positive,
    reduction,
    shape,
    two,
)
from minires.ops.entry import Entry, entry, network
from minires.ops.table_network import NETWORK

TABLE: tuple[Entry, ...] = (
    # arithmetic
    entry("add", two(normal, normal)),
    entry("add", draws.scaled, note="alpha"),
    entry("sub", two(normal, normal)),
    entry("sub", draws.scaled, note="alpha"),
    entry("mul", two(normal, normal)),
    entry("div", two(normal, nonzero)),
    entry("pow", two(positive, normal)),
    entry("pow", draws.powered, note="number"),
    entry("remainder", draws.divided),
    entry("maximum", draws.apart),
    entry("minimum", draws.apart),
    entry("where", draws.conditional),
    entry("where_method", draws.conditional_method, "Tensor.where"),
    # functions of each element
    entry("neg", elementwise(normal)),
    entry("abs", elementwise(nonzero)),
    entry("square", elementwise(normal)),
    entry("exp", elementwise(normal)),
    entry("log", elementwise(positive)),
    entry("sqrt", elementwise(positive)),
    entry("reciprocal", elementwise(nonzero)),
    entry("clamp", draws.clamped),
    entry("relu", elementwise(nonzero)),
    entry("sigmoid", elementwise(normal)),
    entry("tanh", elementwise(normal)),
    entry("clone", elementwise(normal)),
    entry("contiguous", lambda random: ([normal(random, 3, 4).T], {}), "Tensor.contiguous"),
    entry("convert", lambda random: ([normal(random, *shape(random))], {"copy": True}), ""),
    entry("copy_values", draws.copied, ""),
    entry("dropout", lambda random: ([normal(random, *shape(random)), one_of(random, 0.0, 0.3, 0.5, 1.0)], {}), ""),
    # sums and their kin
    entry("sum", reduction(normal)),
    entry("mean", reduction(normal)),
    entry("var", reduction(normal, correction=0)),
    entry("var", draws.spread, note="correction"),
    entry("std", draws.spread),
    entry("max", reduction(distinct, several=False)),
    entry("min", reduction(distinct, several=False)),
    entry("max", elementwise(distinct), note="of all"),
    entry("min", elementwise(distinct), note="of all"),
    entry("amax", reduction(distinct)),
    entry("amin", reduction(distinct)),
    entry("logsumexp", draws.always_along),
    entry("norm", draws.normed),
    entry("cumsum", along_one(normal)),
    network("softmax", along_one(normal)),
    network("log_softmax", along_one(normal)),
    # matrices
    entry("matmul", draws_network.product),
    network("linear", draws_network.linear_layer),
    # shapes
    entry("reshape", draws.reshaped),
    entry("flatten", draws.flattened),
    entry("squeeze", along_one(normal)),
    entry("squeeze", elementwise(normal), note="all"),
    entry("unsqueeze", along_one(normal)),
    entry("permute", draws.permuted),
    entry("transpose", draws.two_axes),
    entry("t", lambda random: ([normal(random, *shape(random, 0, 2))], {})),
    entry("matrix_transpose", lambda random: ([normal(random, *shape(random, 2, 4))], {}), "Tensor.mT"),
    entry("expand", draws.expanded, "Tensor.expand"),
    entry("flip", lambda random: ([normal(random, *shape(random, 2, 3)), one_of(random, (0,), (1,), (0, -1))], {})),
    entry("cat", draws.joined(new_axis=False)),
    entry("stack", draws.joined(new_axis=True)),
    entry("split", draws.taken_apart("sizes")),
    entry("chunk", draws.taken_apart("number")),
    network("pad", draws.padded),
    # picking out
    entry("getitem", draws.indexed, "Tensor.__getitem__"),
    entry("set_items", draws.assigned, ""),
    entry("gather", draws.gathered),
    entry("sort", draws.sorted_along),
    entry("topk", draws.chosen),
    # windows
    network("conv2d", draws_network.convolution),
    entry("conv2d_act", draws_network.convolution_and_more, ""),
    network("max_pool2d", draws_network.max_pooling),
    network("avg_pool2d", draws_network.average_pooling),
    network("adaptive_avg_pool2d", draws_network.adaptive_pooling),
    # normalisation
    network("batch_norm", draws_network.normalisation(training=True), "training", fixed=(1, 2)),
    network("batch_norm", draws_network.normalisation(training=False), "inference", fixed=(1, 2)),
    entry("batch_norm_act", draws_network.normalisation_and_more(training=True), "", "training", fixed=(1, 2)),
    entry("batch_norm_act", draws_network.normalisation_and_more(training=False), "", "inference", fixed=(1, 2)),
    network("group_norm", draws_network.group_normalisation),
    # losses
    network("cross_entropy", draws_network.classification, fixed=("weight",)),
    network("nll_loss", draws_network.likelihood, fixed=("weight",)),
    network("mse_loss", draws_network.regression),
    network("l1_loss", draws_network.regression),
    *NETWORK,
)  # fmt: skip

# Operations without an entry: their derivative is zero or does not exist.
WITHOUT_GRADIENT = (
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isfinite", "isinf",
    "sign", "floor", "ceil", "round", "floor_divide", "argmax", "argmin", "argsort", "all", "any",
)  # fmt: skip
