"""Floor 5: files in and out.

files            the one place that touches the disk: atomic writes, reads, a replaceable system underneath
safetensors      arrays in the safetensors format            npz    arrays in NumPy's format
checkpoint       tensors and state of a run in one file      weights  `mr.save`, `mr.load`
run_folder       the folder of a run, with its lock          model_directory  a model as a folder
toml, strict_json, environment   the texts in them
"""

from minires.errors import FileFormatError
from minires.io import checkpoint, files, npz, run_folder, safetensors, strict_json, toml, weights
from minires.io.files import FileAccessError
from minires.io.run_folder import RunFolder
from minires.io.weights import load, save

__all__ = [
    "FileAccessError", "FileFormatError", "RunFolder", "checkpoint", "files", "load", "npz", "run_folder",
    "safetensors", "save", "strict_json", "toml", "weights",
]  # fmt: skip
