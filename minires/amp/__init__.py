"""Mixed precision on a GPU, by torch.amp's names: float16 or bfloat16 where it is fast, float32 elsewhere.

    scaler = mr.amp.GradScaler()
    with mr.amp.autocast("cuda"):
        loss = mr.nn.functional.cross_entropy(model(images), labels)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

Parameters stay float32 (the master weights), and so do their gradients; products read narrow copies of them. With
`autocast("cuda", minires.bfloat16)` no scaler is needed: bfloat16 has the range of float32.
"""

from minires.amp.autocast import autocast, is_autocast_available
from minires.amp.grad_scaler import GradScaler
