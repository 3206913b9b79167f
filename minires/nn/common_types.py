"""torch.nn.common_types: names for "a whole number, or one for each axis", as annotations use them."""

_size_1_t = int | tuple[int]
_size_2_t = int | tuple[int, int]
_size_3_t = int | tuple[int, int, int]
_size_any_t = int | tuple[int, ...]
_size_2_opt_t = tuple[int | None, int | None]
