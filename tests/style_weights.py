"""The mapping network of StyleGAN2 and StyleGAN3 in PyTorch, by the names of NVIDIA's pickles."""

import numpy as np
import torch

F = torch.nn.functional
CLASSES = 3


class StyleWeights(dict):
    """Random tensors by name, with the layers that both have."""

    def layer(self, name, *shape, learning=1.0, bias=0.0):
        self[f"{name}.weight"] = torch.randn(*shape) / learning
        self[f"{name}.bias"] = (bias + 0.3 * torch.randn(shape[0])) / learning

    def mapping(self, inside, features, layers, label):
        if label:
            self.layer("mapping.embed", features, CLASSES)
        for i in range(layers):
            inside = inside if i == 0 else features
            self.layer(f"mapping.fc{i}", features, inside, learning=0.01)

    def dense(self, name, x, learning=1.0):
        weight = self[f"{name}.weight"] * learning / np.sqrt(x.shape[1])
        return F.linear(x, weight, self[f"{name}.bias"] * learning)

    def mapped(self, z, label):
        given = [] if z is None else [z]
        if label is not None:
            given.append(self.dense("mapping.embed", F.one_hot(label, CLASSES).float()))
        x = torch.cat(
            [part / part.square().mean(1, keepdim=True).add(1e-8).sqrt() for part in given], 1
        )
        for i in range(sum(name.startswith("mapping.fc") for name in self) // 2):
            x = F.leaky_relu(self.dense(f"mapping.fc{i}", x, 0.01), 0.2) * np.sqrt(2)
        return x
