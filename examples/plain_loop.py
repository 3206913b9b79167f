"""The training loop with nothing around it: twelve lines, the same as one would write for PyTorch.

    python examples/plain_loop.py

A ResNet-20 learns scikit-learn's scanned digits, enlarged to 16 x 16 pixels, from random weights. For checkpoints,
progress bars, early stopping and resuming see `minires.training.Trainer`, which is this loop with events around it.
"""

import minires as mr
import minires.nn.functional as F
from minires.data import DataLoader, load_digits, preset_eval, split_dataset

mr.manual_seed(0)
parts = split_dataset(load_digits(preset_eval((16, 16), None)), {"test": 0.2}, seed=0)
train_loader = DataLoader(parts["train"], batch_size=64, shuffle=True, drop_last=True)
test_loader = DataLoader(parts["test"], batch_size=64)

model = mr.models.resnet20(num_classes=10)
optimizer = mr.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)

for epoch in range(5):
    model.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with mr.no_grad():
        right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test_loader)
    accuracy = right / len(parts["test"])
    print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}, test accuracy {accuracy:.3f}")
