"""Attention with several heads, and the encoder of a transformer. Vaswani et al. 2017; Dosovitskiy et al. 2021."""

import copy
from collections.abc import Callable
from typing import Any

from minires import ops
from minires.nn import functional as F
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.containers import ModuleList
from minires.nn.dropout import Dropout
from minires.nn.linear import Linear
from minires.nn.module import Module
from minires.nn.norm_of_samples import LayerNorm
from minires.nn.parameter import Parameter
from minires.tensor import Tensor


class MultiheadAttention(Module):
    """Attention of num_heads heads, each on its own projections of query, key and value; the results projected back.

    embed_dim: width of queries and results, a multiple of num_heads. kdim, vdim: widths of keys and values (embed_dim
    for None). dropout: of the weights, in training. add_bias_kv: one more key and value, learnt. add_zero_attn: one
    more, of zeros. batch_first: (N, L, E) in place of (L, N, E); (L, E) for one sequence. Other than in PyTorch the
    layer out_proj is an ordinary Linear.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got {embed_dim} and {num_heads}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.head_dim, self.add_zero_attn = embed_dim // num_heads, add_zero_attn
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")

        def parameter(*shape: int) -> Parameter:
            return Parameter(empty(shape, device, dtype))

        together = self.kdim == self.vdim == embed_dim
        self.in_proj_weight = parameter(3 * embed_dim, embed_dim) if together else None
        for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            self.register_parameter(f"{name}_proj_weight", None if together else parameter(embed_dim, width))
        self.register_parameter("in_proj_bias", parameter(3 * embed_dim) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.register_parameter("bias_k", parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.register_parameter("bias_v", parameter(1, 1, embed_dim) if add_bias_kv else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: Xavier's uniform law for the projections, biases 0."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """(results, weights of the keys or None).

        key_padding_mask (N, S), attn_mask (L, S) or (N num_heads, L, S): booleans, True for what may not be seen, or
        numbers that are added. average_attn_weights: weights (N, L, S), not (N, num_heads, L, S). is_causal says that
        attn_mask, which must be given, is a triangle.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("MultiheadAttention: need attn_mask if specifying the is_causal hint")
        if query.dim() not in (2, 3) or not query.dim() == key.dim() == value.dim():
            raise AssertionError("MultiheadAttention: query, key and value should all be 3-D, or 2-D for one sequence, "
                                 f"got {query.shape}, {key.shape} and {value.shape}")  # fmt: skip
        if query.shape[-1] != self.embed_dim:
            raise AssertionError(f"was expecting embedding dimension of {self.embed_dim}, but got {query.shape[-1]}")
        single, itself = query.dim() == 2, query is key and key is value
        rows = [self._rows(query)] * 3 if itself else [self._rows(tensor) for tensor in (query, key, value)]
        q, k, v = self._projected(rows, itself)
        if single and key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
        k, v, added = self._with_extra_keys(k, v)
        q, k, v = (self._heads(tensor) for tensor in (q, k, v))
        if self.add_zero_attn:
            none = k.new_zeros(*k.shape[:2], 1, self.head_dim)
            k, v, added = ops.cat([k, none], 2), ops.cat([v, none], 2), added + 1
        bias = self._bias(q, key_padding_mask, attn_mask, added)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = ops.matmul(q * self.head_dim**-0.5, k.transpose(-2, -1))
            weights = ops.dropout(ops.softmax(scores if bias is None else scores + bias, -1), p)
            found = ops.matmul(weights, v)
        else:
            found = F.scaled_dot_product_attention(q, k, v, bias, p)
        result = self.out_proj(found.transpose(1, 2).flatten(2))
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
        if single:
            return result.squeeze(0), None if weights is None else weights.squeeze(0)
        return result if self.batch_first else result.transpose(0, 1), weights

    def _rows(self, tensor: Tensor) -> Tensor:
        """The input as (N, L, E)."""
        if tensor.dim() == 2:
            return tensor.unsqueeze(0)
        return tensor if self.batch_first else tensor.transpose(0, 1)

    def _projected(self, rows: list[Tensor], itself: bool) -> list[Tensor]:
        """Queries, keys and values, each (N, length, embed_dim); in one product for attention of a thing to itself."""
        bias = self.in_proj_bias
        if self.in_proj_weight is not None and itself:
            return list(ops.linear(rows[0], self.in_proj_weight, bias).chunk(3, -1))
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return [ops.linear(x, weight, b) for x, weight, b in zip(rows, weights, biases, strict=True)]

    def _with_extra_keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values with the learnt ones behind them, and how many were added."""
        if self.bias_k is None:
            return k, v, 0
        extra = (one.expand(len(k), 1, self.embed_dim) for one in (self.bias_k, self.bias_v))
        return *(ops.cat([many, one], 1) for many, one in zip((k, v), extra, strict=True)), 1  # type: ignore[return-value]

    def _heads(self, tensor: Tensor) -> Tensor:
        """(N, length, E) as (N, heads, length, E / heads)."""
        return tensor.reshape(*tensor.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _bias(self, q: Tensor, padding: Tensor | None, mask: Tensor | None, added: int) -> Tensor | None:
        """Both masks as one tensor that is added to the scores (N, heads, L, S); None for none. Extra keys are seen."""
        parts = []
        if padding is not None:
            parts.append(_as_numbers(padding, q)[:, None, None, :])
        if mask is not None:
            numbers = _as_numbers(mask, q)
            parts.append(numbers if mask.dim() == 2 else numbers.reshape(-1, self.num_heads, *mask.shape[1:]))
        if not parts:
            return None
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return F.pad(total, (0, added)) if added else total


def _as_numbers(mask: Tensor, like: Tensor) -> Tensor:
    """-inf for True, 0 for False; numbers as they are."""
    if mask.dtype.kind != "b":
        return mask.to(like.dtype)
    return like.new_zeros(mask.shape).masked_fill(mask, float("-inf"))


class TransformerEncoderLayer(Module):
    """Attention of a sequence to itself and two linear layers, each with a way round it and a layer norm.

    x = norm1(x + attention(x)); y = norm2(x + linear2(activation(linear1(x)))); with norm_first the norms stand before
    attention and linear layers instead. activation: "relu", "gelu", or a function.
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, device=device,
                                            dtype=dtype)  # fmt: skip
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        self.norm1, self.norm2 = (
            LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype) for _ in range(2)
        )
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        known: dict[str, Callable[..., Tensor]] = {"relu": F.relu, "gelu": F.gelu}
        if isinstance(activation, str) and activation not in known:
            raise RuntimeError(f"activation should be relu/gelu, not {activation}")
        self.activation = known[activation] if isinstance(activation, str) else activation

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        def attention(x: Tensor) -> Tensor:
            found, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(found)

        def lines(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = src + attention(self.norm1(src))
            return x + lines(self.norm2(x))
        x = self.norm1(src + attention(src))
        return self.norm2(x + lines(x))


class TransformerEncoder(Module):
    """num_layers copies of a layer, one after the other, and a norm.

    enable_nested_tensor and mask_check choose a faster way in PyTorch; here there is one way.
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)
