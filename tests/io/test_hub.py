"""torch.hub's function: weights by their address, under torch's two names for it."""

import hashlib

import pytest

import minires as mr
from minires.io import download


def test_weights_by_their_address(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_OFFLINE", "1")
    from minires.utils.model_zoo import load_url

    mr.save({"fc.weight": mr.ones(2, 3)}, tmp_path / "made.pth")
    data = (tmp_path / "made.pth").read_bytes()
    url = f"https://example.org/models/net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    with pytest.raises(download.http.DownloadError, match="by hand"):
        mr.hub.load_state_dict_from_url(url, tmp_path)
    (tmp_path / url.rpartition("/")[2]).write_bytes(data)
    for load in (mr.hub.load_state_dict_from_url, load_url):
        found = load(url, model_dir=tmp_path, map_location="cpu", progress=True, check_hash=True)
        assert found["fc.weight"].tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(ValueError, match="no hash"):
        mr.hub.load_state_dict_from_url("https://example.org/net.pth", tmp_path, check_hash=True)
    with pytest.raises(NotImplementedError, match="executed"):
        mr.load(tmp_path / "made.pth", weights_only=False)
    assert mr.load(tmp_path / "made.pth", map_location="cpu", weights_only=True)["fc.weight"].shape == (2, 3)
