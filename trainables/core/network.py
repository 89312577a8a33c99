"""One network that trains alone, in the shape of a population of one: what is too large to be stacked."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.core.pack import Pack
from trainables.core.population import PRECISIONS
from trainables.core.pretrained import check_weights, chunk_of, resized, stages, thaw
from trainables.core.schedules import thawed

OPTIMISERS = ("sgd", "adamw")
SGD = "SGD with Nesterov momentum 0.9"  # what reports say of them
ADAMW = "AdamW (beta 0.9 and 0.999, eps 1e-8)"
DECAYED = "Weight decay is of weights, not of biases and batch normalisation."


class Network:
    """A network of `pretrained.build` with its optimiser. All of it is frozen until `thaw`.

    optimiser: "sgd" (with Nesterov momentum) or "adamw". rates: of the stages, from the head on: the factor of each learning rate
    (all 1 unless given). weight_decay: of weights, not of biases and batch normalisation. precision: of the products, "fp32"
    or "bf16"; parameters and the optimiser's moments stay in fp32.
    """

    def __init__(
        self,
        model: nn.Sequential,
        resolution: int,
        optimiser: str,
        lr: float,
        weight_decay: float,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        rates: Sequence[float] = (),
    ) -> None:
        self.device, self.resolution, self.cast = torch.device(device), resolution, PRECISIONS[precision]
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.thawed = 0
        groups: list[dict[str, Any]] = []
        self.rates: list[float] = []  # of the groups
        for i, stage in enumerate(stages(model).values()):
            rate = lr * (rates[i] if rates else 1)
            for decay, matrices in ((weight_decay, True), (0.0, False)):
                parameters = [p for p in stage.parameters() if (p.dim() > 1) == matrices]
                if parameters:
                    groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
                    self.rates.append(rate)
        self.optimiser: torch.optim.Optimizer
        if optimiser == "sgd":
            self.optimiser = torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)
        else:
            self.optimiser = torch.optim.AdamW(groups, fused=True)

    def __len__(self) -> int:
        return 1

    def thaw(self, count: int) -> None:
        """From here on the first `count` stages from the head are trained, see `pretrained.thaw`."""
        if count != self.thawed:
            self.thawed = count
            thaw(self.model, count)

    def logits(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        """x: images in [0, 1], (B, 3, H, W) -> logits (1, B, classes) fp32. model: who is asked in place of the network, of its kind."""
        x = x.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.cast, enabled=self.cast != torch.float32):
            return (model or self.model)(x).float()[None]

    def step(self, loss: Tensor, lr_scale: float = 1.0) -> None:
        """One step of the optimiser. loss: (1,); lr_scale multiplies every learning rate."""
        self.optimiser.zero_grad(
            set_to_none=True
        )  # what is frozen has no gradient, so nothing of the optimiser moves it
        loss.sum().backward()
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * lr_scale
        self.optimiser.step()

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """Logits on all images in evaluation mode, (1, N, classes). images: (N, 3, H, W) uint8."""
        self.model.eval()
        parts = images.split(chunk_of(self.resolution, self.device))
        z = torch.cat([self.logits(resized(part.to(self.device), self.resolution)) for part in parts], dim=1)
        thaw(self.model, self.thawed)
        return z

    def named(self, images: Tensor, mirrored: bool = False) -> Tensor:
        """The class that the network names, (1, N). images: (N, 3, H, W) uint8. mirrored: the logits of every image and its
        mirror image are averaged."""
        z = self.answers(images)
        if mirrored:
            z = z + self.answers(images.flip(-1))
        return z.argmax(-1)

    def accuracy(self, images: Tensor, labels: Tensor, mirrored: bool = False) -> Tensor:
        """Share of right answers, (1,). images: (N, 3, H, W) uint8; labels: (N,). mirrored: as of `named`."""
        return (self.named(images, mirrored) == labels).float().mean(1)

    def state_dict(self) -> dict:
        """Everything a resumed network needs, as copies."""
        model = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return {"model": model, "optimiser": copy.deepcopy(self.optimiser.state_dict()), "thawed": self.thawed}

    def load_state_dict(self, state: dict) -> None:
        self.thaw(state["thawed"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


class NetworkPack(Pack):
    """A pack of one network, which starts from weights and thaws by its config's `unfreezing`; subclasses build it."""

    may_differ: ClassVar[frozenset[str]] = frozenset()
    keeps_networks = True
    students: Network

    @classmethod
    def require(cls, configs: Iterable[Any], images: int | None = None) -> None:
        """DataError where weights are not at hand and cannot be fetched."""
        check_weights((c.network, c.weights) for c in configs)

    @abstractmethod
    def __init__(self, configs: Sequence[Any], datasets: Mapping, answers: Mapping, device: str) -> None:
        if len(configs) > 1:
            raise ValueError("networks train alone, in packs of one")
        super().__init__(configs, device)

    def thaw(self, step: int) -> None:
        """From this step on what the schedule says is trained."""
        self.students.thaw(thawed(self.common.unfreezing, step / self.total_steps, len(self.students.model)))

    def networks(self) -> list[dict[str, Tensor]]:
        """The state of the network, as `pretrained.load` reads it."""
        return [self.students.model.state_dict()]
