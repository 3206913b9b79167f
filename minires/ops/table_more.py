"""The part of the table of operations (table.py) for what is asked for less often: quantiles, matrices, ..."""

from minires.ops import draws_matrices as products
from minires.ops import draws_more as more
from minires.ops import draws_plain as plain
from minires.ops.draws import elementwise, normal, one_of, two, two_axes
from minires.ops.draws_tensor import inside
from minires.ops.entry import Entry, entry, network

MORE: tuple[Entry, ...] = (
    # along an axis
    entry("quantile", more.shares),
    entry("nanquantile", more.shares_of_some),
    entry("nansum", more.some),
    entry("nanmean", more.some),
    entry("aminmax", more.one_dim),
    entry("mode", more.running),
    entry("std_mean", more.spread),
    entry("var_mean", more.spread),
    entry("cummax", more.running),
    entry("cummin", more.running),
    entry("logcumsumexp", more.running),
    entry("trapezoid", more.areas),
    entry("cumulative_trapezoid", more.areas),
    entry("nanmedian", more.running_gaps),
    entry("cov", more.observed),
    entry("corrcoef", more.observed),
    entry("renorm", more.shortened),
    entry("vander", more.powers, ""),
    entry("logaddexp2", two(normal, normal)),
    entry("ldexp", two(normal, normal)),
    entry("fmax", more.two_apart),
    entry("fmin", more.two_apart),
    # signs
    entry("copysign", more.signed),
    entry("erfinv", elementwise(inside)),
    entry("positive", elementwise(normal)),
    entry("rsub", two(normal, normal)),
    # placing
    entry("scatter_reduce", more.joined_at),
    entry("index_put", more.put_at),
    entry("select_scatter", more.slice_in),
    entry("slice_scatter", more.slices_in),
    entry("diagonal_scatter", more.diagonal_in),
    # matrices
    entry("inner", more.inner_pair),
    entry("vdot", products.matrices((3,), (3,))),
    entry("addmv", products.matrices((2,), (2, 3), (3,), beta=(1, 0.5), alpha=(1, -2))),
    entry("addr", products.matrices((2, 3), (2,), (3,), beta=(1, 0.5), alpha=(1, -2))),
    entry("kron", more.products_of),
    entry("cross", more.threes),
    entry("vecdot", products.matrices((2, 3), (3,), dim=(-1,)), "linalg.vecdot"),
    entry("dist", more.difference),
    network("pdist", lambda random: ([more.distances(random)[0][1], one_of(random, 1.0, 2.0, 3.0)], {})),
    network("bilinear", products.matrices((2, 3), (2, 4), (5, 3, 4), (5,))),
    entry("addbmm", products.matrices((3, 4), (2, 3, 5), (2, 5, 4), beta=(1, 0.5), alpha=(1, -2))),
    entry("cdist", more.distances),
    entry("inverse", more.square),
    entry("det", more.square),
    entry("slogdet", more.square),
    entry("logdet", more.with_positive_determinant),
    entry("solve", more.equations, "linalg.solve"),
    entry("cholesky", more.definite, "linalg.cholesky"),
    entry("qr", more.tall, "linalg.qr"),
    entry("svdvals", more.any_matrix, "linalg.svdvals"),
    entry("matrix_power", more.power),
    entry("matrix_exp", more.square, "linalg.matrix_exp"),
    entry("householder_product", more.reflections, "linalg.householder_product"),
    entry("matrix_norm", more.measured, "linalg.matrix_norm"),
    # arrangements
    entry("swapaxes", two_axes),
    entry("column_stack", more.in_list((3,), (3, 2))),
    entry("dstack", more.in_list((2, 3), (2, 3))),
    *(entry(f"atleast_{n}d", more.few_axes) for n in (1, 2, 3)),
    entry("block_diag", products.matrices((2, 3), (2,), ())),
    entry("diagflat", lambda random: ([normal(random, 2, 2), one_of(random, 0, -1)], {})),
    entry("tensor_split", more.cut_at(1)),
    entry("hsplit", more.cut_at(None)),
    entry("vsplit", more.cut_at(None)),
    entry("cartesian_prod", products.matrices((2,), (3,))),
    entry("combinations", more.chosen),
    entry("msort", elementwise(more.distinct)),
)  # fmt: skip

MORE_PLAIN: tuple[Entry, ...] = (
    entry("heaviside", more.steps),
    entry("gcd", more.whole_pair),
    entry("lcm", more.whole_pair),
    *(entry(name, elementwise(plain.unusual)) for name in ("signbit", "isposinf", "isneginf", "isreal")),
    *(entry(f"bitwise_{side}_shift", more.shifted) for side in ("left", "right")),
    entry("bernoulli", more.likely, ""),
    entry("multinomial", lambda random: ([more.likely(random)[0][0], 2], {}), ""),
)  # fmt: skip
