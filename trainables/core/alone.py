"""A pack of one: a network that is too large to be stacked, and what every method that trains such networks does alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from trainables.core.network import Network
from trainables.core.pack import Pack
from trainables.core.pretrained import check_weights
from trainables.core.schedules import thawed


class Alone(Pack):
    """One network of `pretrained.build` that starts from weights and thaws by its config's `unfreezing`. A subclass builds
    `students`."""

    may_differ: ClassVar[frozenset[str]] = frozenset()
    keeps_networks = True
    students: Network

    @classmethod
    def require(cls, configs: Iterable[Any]) -> None:
        """DataError where weights are not at hand and cannot be fetched."""
        check_weights((c.network, c.weights) for c in configs)

    @abstractmethod
    def __init__(self, configs: Sequence[Any], datasets: Mapping, answers: Mapping, device: str) -> None:
        if len(configs) > 1:
            raise ValueError("networks train alone, in packs of one")
        super().__init__(configs, device)

    def thaw(self, step: int) -> None:
        """From this step on what the schedule says is trained."""
        count = thawed(self.common.unfreezing, step / self.total_steps, len(self.students.model))
        self.students.thaw(count)

    def networks(self) -> list[dict[str, Tensor]]:
        """The state of the network, as `pretrained.load` reads it."""
        return [self.students.model.state_dict()]
