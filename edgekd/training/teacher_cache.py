"""The teacher's answers on disk, so that it runs once per distinct input."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from edgekd.data.dataset import is_tokens
from edgekd.data.sources import Rows
from edgekd.distillation import Output
from edgekd.errors import BadInputError
from edgekd.files import digest
from edgekd.progress import Reporter
from edgekd.recipe import Cache
from edgekd.training.batches import Batch, Batches
from edgekd.training.logit_codec import Encoding
from edgekd.training.precision import casts
from edgekd.training.teacher import Teacher
from edgekd.training.teacher_cache_files import AnswerFiles, Answers, amount
from edgekd.training.weights import weights_digest


class CachedTeacher:
    """Memory-mapped logits and half-precision features of the whole training set, one folder per view.

    The folder's name is the hash of all that decides them: teacher, data, augmentation, seed, taps, encoding and
    arithmetic. Building continues where an interrupted run stopped. Where `_why_live` says so, nothing is stored and
    the teacher runs for every batch.
    """

    def __init__(self, teacher: Teacher, folder: Path, reporter: Reporter, settings: Cache | None = None) -> None:
        self._teacher, self._root, self._reporter = teacher, folder, reporter
        self._settings = settings or Cache()
        self._answers: Answers | None = None

    @property
    def model(self) -> nn.Module:
        """The teacher."""
        return self._teacher.model

    def ask(self, batch: Batch) -> Output:
        """The teacher's own answer, stored nowhere."""
        return self._teacher.ask(batch)

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Build, or find, the answers to every sample in `views`; their size is said before they are built.

        Raises BadInputError when the disk cannot hold them, or when what is stored is damaged.
        """
        self._teacher.prepare(batches, views)
        files = self._files(batches, views)
        if reason := self._why_live(batches, files.nbytes):
            self._reporter.say(f"the teacher answers live, at every step: {reason}")
            self._answers = None
        else:
            files.build(self._reporter)
            self._answers = files.open()

    def outputs(self, batch: Batch) -> Output:
        """The stored answers to a batch of a prepared view, or live ones."""
        return self._answers.at(batch) if self._answers else self._teacher.outputs(batch)

    def _why_live(self, batches: Batches, nbytes: int) -> str | None:
        if self._teacher.taps and is_tokens(batches.data.train.inputs):
            return "features of tokens are as long as their batch"
        inputs = batches.data.train.inputs
        if isinstance(inputs, Rows) and inputs.unstable:
            return inputs.unstable
        if not self._teacher.model.state_dict():
            return "without weights, nothing tells whether it is the same teacher"
        limit = round(self._settings.limit_gb * 1e9)
        return f"{amount(nbytes)} would exceed cache.limit_gb ({amount(limit)})" if nbytes > limit else None

    def _files(self, batches: Batches, views: Sequence[int]) -> AnswerFiles:
        example = self._teacher.outputs(batches.at(np.arange(1), 0))
        if self._settings.top_k and not batches.data.task.by_class:
            raise BadInputError(
                "cache.top_k: without classes the teacher's outputs are embeddings, which are kept whole"
            )
        encoding = Encoding.of(self._settings, self._teacher.taps, example)
        distinct = dict.fromkeys(views) if batches.recipe.augmentation else (0,)
        folder = self._root / self._key(batches)[:16]
        return AnswerFiles(self._teacher, batches, encoding, encoding.encode(example), folder, tuple(distinct))

    def _key(self, batches: Batches) -> str:
        teacher, settings = self._teacher, self._settings
        decides = {
            "teacher": weights_digest(teacher.model),
            "data": batches.data.digest(),
            "augmentation": batches.recipe.augmentation,
            "seed": batches.seed if batches.recipe.augmentation else None,
            "taps": teacher.taps,
            "bf16": casts(teacher.precision, batches.device),
            "logits": [settings.logits, settings.top_k],
        }
        return digest(decides | ({"outputs": teacher.names} if teacher.names else {}))
