"""What files of weights are called: a file's ending says how it is read."""

import os

from minires.io import files, keras_files

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")  # .tar: model_best.pth.tar of PyTorch's ImageNet example
SUFFIXES = (".safetensors", ".npz", *TORCH_SUFFIXES)
READ_SUFFIXES = (*SUFFIXES, *keras_files.SUFFIXES)  # minires writes no Keras files


def is_url(source: object) -> bool:
    """Whether `source` is a text such as https://host/name."""
    return isinstance(source, str) and "://" in source


def is_weights_file(name: files.PathLike) -> bool:
    """Whether a name, or the path within a URL, ends as those of weights files do."""
    path = os.fspath(name)
    if is_url(path):
        path = path.partition("#")[0].partition("?")[0]
    return os.path.splitext(path)[1].lower() in READ_SUFFIXES
