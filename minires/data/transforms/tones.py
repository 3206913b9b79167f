"""Random changes of tone and sharpness. They take and give Pillow pictures or image tensors (..., C, H, W)."""

from collections.abc import Sequence
from typing import Any

from minires.data.transforms import functional
from minires.data.transforms.compose import check_probability
from minires.data.transforms.pictures import pair
from minires.random import generator


class _Chance:
    """A change that happens with the probability `p`."""

    names: tuple[str, ...] = ("p",)  # what the text shows

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_probability(p)

    def change(self, img: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must say what it changes")

    def __call__(self, img: Any) -> Any:
        return self.change(img) if generator().random() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join(f'{name}={getattr(self, name)}' for name in self.names)})"


class RandomInvert(_Chance):
    """White minus the picture, with the probability `p`."""

    def change(self, img: Any) -> Any:
        """The negative."""
        return functional.invert(img)


class RandomPosterize(_Chance):
    """Only the `bits` highest bits of each value, with the probability `p`."""

    names = ("bits", "p")

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        if not isinstance(bits, int) or not 0 <= bits <= 8:
            raise ValueError(f"bits must be a whole number from 0 to 8, got {bits!r}")
        self.bits = bits

    def change(self, img: Any) -> Any:
        """Fewer tones."""
        return functional.posterize(img, self.bits)


class RandomSolarize(_Chance):
    """Values from `threshold` on inverted, with the probability `p`."""

    names = ("threshold", "p")

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def change(self, img: Any) -> Any:
        """Bright parts inverted."""
        return functional.solarize(img, self.threshold)


class RandomAdjustSharpness(_Chance):
    """Sharpened (`sharpness_factor` above 1) or smoothed (below 1), with the probability `p`."""

    names = ("sharpness_factor", "p")

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        if sharpness_factor < 0:
            raise ValueError(f"sharpness_factor must not be negative, got {sharpness_factor}")
        self.sharpness_factor = sharpness_factor

    def change(self, img: Any) -> Any:
        """Sharper, or softer."""
        return functional.adjust_sharpness(img, self.sharpness_factor)


class RandomAutocontrast(_Chance):
    """Each channel stretched from black to white, with the probability `p`."""

    def change(self, img: Any) -> Any:
        """All the tones there are."""
        return functional.autocontrast(img)


class RandomEqualize(_Chance):
    """Each channel's values made about equally frequent, with the probability `p`."""

    def change(self, img: Any) -> Any:
        """A flat histogram."""
        return functional.equalize(img)


class RandomGrayscale(_Chance):
    """Grey, in as many channels as before, with the probability `p`."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def change(self, img: Any) -> Any:
        """Without colour."""
        return functional.to_grayscale(img, functional.get_dimensions(img)[0])


class GaussianBlur:
    """Smoothed by a Gaussian of `kernel_size` (odd) pixels, its spread drawn evenly from `sigma`, or `sigma` itself."""

    def __init__(self, kernel_size: int | Sequence[int], sigma: float | Sequence[float] = (0.1, 2.0)) -> None:
        self.kernel_size = pair(kernel_size, "kernel_size")
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError("Kernel size value should be an odd and positive number.")
        self.sigma = (float(sigma),) * 2 if isinstance(sigma, int | float) else tuple(sigma)
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma values should be positive and of the form (min, max). Got {sigma}")

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """The spread."""
        return float(generator().uniform(sigma_min, sigma_max))

    def __call__(self, img: Any) -> Any:
        sigma = self.get_params(*self.sigma)
        return functional.gaussian_blur(img, self.kernel_size, [sigma, sigma])

    def __repr__(self) -> str:
        return f"GaussianBlur(kernel_size={self.kernel_size}, sigma={self.sigma})"
