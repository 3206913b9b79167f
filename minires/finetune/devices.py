"""What computes a job: --device and --amp, looked at before anything is made."""

from minires import backend, cuda
from minires.errors import UsageError
from minires.training.precision import Precision, dtype_name

AUTO = "auto"
AMP = ("float16", "bfloat16", "fp16", "bf16")


def check_device(text: str, amp: str | None = None) -> None:
    """UsageError for what no device is called, and for mixed precision on the CPU. Looks for no GPU."""
    if text == AUTO:
        return
    try:
        kind = backend.device(text).type
    except ValueError:
        raise UsageError(f"--device is cpu, cuda, cuda:N or auto; got {text!r}", code="usage.value") from None
    if amp is not None and kind == "cpu":
        raise UsageError(f"--amp {amp} is for a GPU: a processor emulates {dtype_name(amp)}, slower than float32 and "
                         "less exact", code="usage.conflict", hint="--device cuda, or leave --amp out")  # fmt: skip


def find_device(text: str, amp: str | None = None) -> backend.device:
    """The device that --device names, by its number; a GPU, or else the CPU, for "auto".

    Raises UsageError (code "usage.device") for a GPU that is not there and for a type that it cannot compute in.
    """
    if text == AUTO:
        text = "cuda" if cuda.is_available() else "cpu"
    check_device(text, amp)
    device = backend.device(text)
    if device.type == "cuda":
        try:
            device = backend.resolved(device)
            cuda.set_device(device)
            Precision(amp, device)
        except RuntimeError as error:
            given = f"--device {text}" + ("" if amp is None else f" --amp {amp}")
            raise UsageError(f"{given}: {error}", code="usage.device", hint="--device cpu works anywhere") from error
    return device


def describe_device(device: backend.device, amp: str | None) -> str:
    """A line of the first screen."""
    if device.type == "cpu":
        return "the CPU, in float32"
    kind = "float32" if amp is None else f"mixed precision ({dtype_name(amp)} and float32)"
    return f"{device} ({cuda.get_device_name(device)}), in {kind}"
