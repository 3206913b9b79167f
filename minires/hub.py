"""torch.hub, as far as model files name it: published weights by their address."""

import os
from typing import Any

from minires.io import download, files
from minires.io.weights import load
from minires.tensor import Tensor


def load_state_dict_from_url(
    url: str, model_dir: files.PathLike | None = None, map_location: Any = None, progress: bool = True,
    check_hash: bool = False, file_name: str | None = None, weights_only: bool = True,
) -> dict[str, Tensor]:  # fmt: skip
    """The tensors of the file at `url`, as `minires.load` gives them; downloaded to `model_dir` unless it is there.

    model_dir: default `weights` in the cache folder. A hash in the file's name is checked, whatever check_hash says.
    NotImplementedError for a file_name of one's own. ValueError for check_hash and a name without a hash.
    """
    if file_name is not None:
        raise NotImplementedError(f"load_state_dict_from_url: file_name={file_name!r} is not supported")
    path, known = download.file_of(url, None, model_dir)
    if check_hash and known is None:
        raise ValueError(f"check_hash: {os.path.basename(path)} has no hash in its name")
    found = download.download(url, folder=model_dir, progress=None if progress else False)
    return load(found, map_location, weights_only=weights_only)
