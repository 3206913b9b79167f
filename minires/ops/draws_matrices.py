"""Random arguments for products of matrices; see draws.py for the rules."""

from typing import Any

from minires.ops.draws import Arguments, Draw, Random, normal, one_of


def matrices(*shapes: tuple[int, ...], **named: Any) -> Draw:
    """Tensors of these shapes; arguments by name are one of the tuples given."""

    def draw(random: Random) -> Arguments:
        return [normal(random, *sizes) for sizes in shapes], {key: one_of(random, *named[key]) for key in named}

    return draw


EQUATIONS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("bij,bjk", ((2, 3, 2), (2, 2, 3))), ("i,j->ij", ((2,), (3,))),
    ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("ij->", ((2, 3),)), ("...ij,...jk->...ik", ((2, 1, 2, 3), (4, 3, 2))),
    ("i...->...", ((3, 2),)), ("ij,j,k->ik", ((2, 3), (3,), (2,))), ("ijj,ki->kj", ((2, 3, 3), (2, 2))),
    ("ab,cd->a", ((2, 3), (2, 2))), ("nchw,oc->nohw", ((2, 3, 2, 2), (4, 3))), ("ij,ij->j", ((2, 3), (1, 3))),
)  # fmt: skip


def equation(random: Random) -> Arguments:
    """einsum(equation, *operands)."""
    words, shapes = EQUATIONS[int(random.integers(0, len(EQUATIONS)))]
    return [words, *(normal(random, *sizes) for sizes in shapes)], {}
