"""Floor 5: files in and out.

files                  the one place that touches the disk: atomic writes, reads, a replaceable system underneath
weights                `mr.save`, `mr.load`: tensors in any of the formats below
safetensors, npz       tensors in the formats of safetensors and of NumPy
torch_file             torch's files: zip_reader, unpickle (with the names and values it knows), torch_tar; state_dicts
                       says what of them is the weights; torch_write writes them
suffixes               what files of weights are called
download               files from the network in a cache folder: http opens URLs (http_headers: whose headers must come
                       in time), transfer brings one file, part_file is what it is before it is whole
checkpoint             tensors and state of a run in one file
run_folder             the folder of a run, with its lock          model_directory  a model as a folder
toml, strict_json, environment   the texts in them
"""

from minires.errors import FileFormatError
from minires.io import checkpoint, files, npz, run_folder, safetensors, strict_json, toml, torch_file, weights
from minires.io.files import FileAccessError
from minires.io.run_folder import RunFolder
from minires.io.weights import load, save

__all__ = [
    "FileAccessError", "FileFormatError", "RunFolder", "checkpoint", "files", "load", "npz", "run_folder",
    "safetensors", "save", "strict_json", "toml", "torch_file", "weights",
]  # fmt: skip
