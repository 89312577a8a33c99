"""What the harness asks of whatever is trained, with defaults. Needs no torch: work in numpy is a `Trainable` too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from trainables.core.nets import Layer


class Trainable(ABC):
    """Students that one worker trains side by side, from evaluation to evaluation.

    Made of their configs, the study's data sets by name and what `prepare` made of their artifact, which all of them
    share: `cls(configs, datasets, answers, device)`. Training that comes to nothing raises RuntimeError, MemoryError,
    ValueError or ArithmeticError.

    config_type: a frozen dataclass of the study's axes, which raises ValueError for what makes no sense. may_differ:
    its fields in which students of one pack may differ. keeps_networks: whether `networks` has something to keep.
    takes_steps: whether training is `config.steps` steps of the `architecture` on one batch each, whose time tells that of the whole.
    method: how every student is made and trained, in words: its initialisation, loss, optimiser and split (what trains,
    what chooses, what reports), and whatever else no axis says, such as the training of its teacher.
    """

    config_type: ClassVar[type]
    may_differ: ClassVar[frozenset[str]] = frozenset()
    keeps_networks: ClassVar[bool] = False
    takes_steps: ClassVar[bool] = False
    method: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def __init__(self, configs: Sequence[Any], datasets: Mapping, answers: Mapping, device: str) -> None: ...

    @classmethod
    def described(cls, config: Any) -> Mapping[str, str]:
        """The layers of a student's network, and then of all others that it needs, as text by their names. What may be trained
        on images of the user's own takes the number of their `classes` too."""
        return {}

    @classmethod
    def architecture(cls, config: Any) -> tuple[Sequence[Layer], tuple[int, ...]]:
        """The layers of a student that is trained in a population, and the shape of one input; where an axis `precision` may be auto."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def artifact(config: Any) -> Hashable:
        """What must be made before a student can be trained, as a value: made once for all students that share it. None where
        nothing is made."""

    @classmethod
    @abstractmethod
    def prepare(cls, artifact: Any, datasets: Mapping, device: str) -> tuple[dict[str, np.ndarray], dict]:
        """An artifact's arrays, and its row for the study's `artifact_table`, rows of others under `tables`; there, of a table of
        many numbers, its columns as arrays (N,) or (N, D)."""

    @classmethod
    def require(cls, configs: Iterable[Any], images: int | None = None) -> None:
        """DataError where files that these students start from are neither at hand nor to be fetched, or where the user's own
        images are too few: images: how many train, None where the data are no one's own."""
        return None

    @classmethod
    def keeps(cls, config: Any) -> bool:
        """Whether a student of this config is a network that can be kept."""
        return cls.keeps_networks

    @staticmethod
    @abstractmethod
    def student_bytes(config: Any) -> int:
        """Memory that one more student takes on the device, in bytes."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether nothing is left to train."""

    @abstractmethod
    def step(self) -> list[dict]:
        """Train up to the next evaluation and return one row per student, in the order of the configs.

        A row has `step`, `fraction`, `seconds` and `status`: running, done, or failed with `error`; and metrics, and
        rows of the study's further tables under `tables`.
        """

    def networks(self) -> list[Any]:
        """The state of every student's network, where `keeps_networks`."""
        raise NotImplementedError

    @abstractmethod
    def state_dict(self) -> dict:
        """All that resumed students need to be the same students: tensors, numbers, text and containers of them."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None: ...


class Kinds(Trainable):
    """Students of several kinds, with a trainable for each: that of a pack's kind does the work. Says itself what is prepared."""

    pack: Any

    @staticmethod
    @abstractmethod
    def kind(config: Any) -> type[Trainable]:
        """The trainable of a student."""

    @classmethod
    def architecture(cls, config: Any) -> tuple[Sequence[Layer], tuple[int, ...]]:
        return cls.kind(config).architecture(config)

    @classmethod
    def artifact(cls, config: Any) -> Any:
        return cls.kind(config).artifact(config)

    @classmethod
    def student_bytes(cls, config: Any) -> int:
        return cls.kind(config).student_bytes(config)

    def __init__(self, configs: Sequence[Any], datasets: Mapping, answers: Mapping, device: str) -> None:
        self.pack = self.kind(configs[0])(configs, datasets, answers, device)

    @property
    def finished(self) -> bool:
        return self.pack.finished

    def step(self) -> list[dict]:
        return self.pack.step()

    def networks(self) -> list[Any]:
        return self.pack.networks()

    def state_dict(self) -> dict:
        return self.pack.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.pack.load_state_dict(state)
