"""Distillation in a loop of the user's own: the student's forward pass is watched, the teacher answers beside it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from edgekd.distillation import Builds, Context, Example, Method, Output, Ramp, checked
from edgekd.errors import BadInputError
from edgekd.networks import Inputs, bare, call, device_of, evaluating, named_outputs, tensors_of
from edgekd.outputs import one
from edgekd.training.objectives import Terms, add_losses, build_modules, deployed, named, require_one_generation
from edgekd.training.taps import Taps
from edgekd.training.teacher import teacher_taps


class Distiller(nn.Module):
    """Adds distillation to the loss of any loop; in use as a context, after which both networks are as before.

    Its own parameters are what methods train along, such as a hint's regressors: give them to the optimiser, too. Its
    state holds them and the number of steps, neither student nor teacher. `terms` are the last losses by name.
    """

    step: Tensor

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        losses: Sequence[Method],
        *,
        samples: Inputs | None = None,
        labels: Tensor | None = None,
        total_steps: int | None = None,
        output: str | int | None = None,
        seed: int = 0,
    ) -> None:
        """Build what the methods train along.

        `samples` are a few inputs, and `labels` those of all training samples, for methods that build parts from them;
        `total_steps` is how often the distiller will be called, for weights that change on the way; `output` is the key
        or the index of the logits where the networks return several tensors ("logits", else the first one).
        """
        super().__init__()
        if bare(teacher) is bare(student):
            raise BadInputError("teacher and student are the same network: it cannot learn from what it answers itself")
        self._networks = teacher, student  # in a tuple: neither belongs to this module
        require_one_generation(losses)
        self._methods = named([checked(method) for method in losses])
        self._total_steps, self._output_name = total_steps, output
        self._taps = tuple(dict.fromkeys(tap for method in losses for tap in method.student_taps))
        self._teacher_taps = teacher_taps(losses)
        self._attached, self._seen, self._watched = ExitStack(), _NOTHING, Taps(student, ())
        self.terms: Terms = {}
        self.register_buffer("step", torch.tensor(0))
        self.built = self._built(samples, labels, seed)
        for name, method in self._methods.items():
            if total_steps is None and isinstance(method.weight, Ramp):
                raise BadInputError(f"{name}: its weight changes on the way: {_Absent('total_steps').advice}")

    def forward(
        self,
        inputs: Inputs,
        own_loss: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Return `own_loss` and the weighted losses of all methods, for the batch that the student has just seen.

        `inputs` go to the teacher: a tensor, a tuple of them, or a dictionary by the names of its parameters. Some
        methods ask for labels, for the samples' `indices` in the training set, or for a mask of tokens (N, L). Of dense
        logits (N, C, …) only the positions `known` (N, …) teach.
        """
        student, teacher = self._student_output(), self._teacher_output(inputs)
        step, total = int(self.step), self._total_steps
        context = Context(
            step, _or_absent(total, "total_steps"), _or_absent(indices, "indices"), _or_absent(labels, "labels"),
            inputs, mask, known=known,
        )  # fmt: skip
        progress = 0.0 if total is None else min(1.0, step / total)
        start = student.logits.new_zeros(()) if own_loss is None else own_loss
        loss, terms = add_losses(start, self._methods, self.built, student, teacher, context, progress)
        self.terms = {name: value.detach() for name, value in terms.items()}
        self.step += 1
        return loss

    def deploy(self) -> nn.Module:
        """Return what is to be evaluated and exported: the student, with the parts that its methods keep."""
        return deployed(self._networks[1], self._methods, self.built)

    def __enter__(self) -> Self:
        teacher, student = self._networks
        with ExitStack() as stack:
            stack.enter_context(evaluating(teacher))
            self._watched = stack.enter_context(Taps(student, self._taps))
            stack.callback(bare(student).register_forward_hook(self._see).remove)
            self._attached = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._attached.close()
        self._seen = _NOTHING

    def _see(self, _: nn.Module, __: Any, output: Any) -> None:
        if torch.is_grad_enabled():
            self._seen = output, dict(self._watched.features)

    def _student_output(self) -> Output:
        (answer, features), self._seen = self._seen, _NOTHING
        if answer is None:
            raise BadInputError("the student has seen no batch: inside `with distiller:`, call it before the distiller")
        return self._output(answer, features, "student")

    @torch.no_grad()
    def _teacher_output(self, inputs: Inputs) -> Output:
        teacher, device = self._networks[0].eval(), tensors_of(inputs)[0].device
        if device_of(teacher) != device:
            teacher.to(device)
        with Taps(teacher, self._teacher_taps) as taps:
            answer = call(teacher, inputs)
        return self._output(answer, taps.features, "teacher")

    def _output(self, answer: Any, features: Mapping[str, Tensor], who: str) -> Output:
        found = {name: value.float() for name, value in named_outputs(answer).items()}
        name, names = None if isinstance(answer, Tensor) else self._output_name, list(found)
        if isinstance(name, int):
            name = names[name] if name < len(names) else str(name)
        if not found or (name is not None and name not in found):
            kind, advice = type(answer).__name__, "Distiller(…, output=KEY or INDEX)"
            raise BadInputError(f"the {who} returns a {kind}: name its logits, {advice}; it has {names}")
        logits = one(found, name, "a method", f"the {who}")
        return Output(logits, {tap: value.float() for tap, value in features.items()}, named=found)

    def _built(self, samples: Inputs | None, labels: Tensor | None, seed: int) -> nn.ModuleDict:
        builders = [name for name, method in self._methods.items() if isinstance(method, Builds)]
        if not builders:
            return nn.ModuleDict()
        if samples is None:
            raise BadInputError(
                f"{builders[0]} has parts of its own: Distiller(…, samples=inputs of a batch) shows them"
            )
        (teacher, student), at = self._networks, device_of(self._networks[1])
        with torch.no_grad(), evaluating(student), evaluating(teacher), Taps(student, self._taps) as taps:
            answer = call(student, samples)
            ours = self._output(answer, taps.features, "student")
            theirs = self._teacher_output(samples)
        example = Example(student, teacher, ours, theirs, _or_absent(labels, "labels"))
        return build_modules(self._methods, example, seed).to(at)


_NOTHING: tuple[Any, dict[str, Tensor]] = None, {}


class _Absent:
    """Stands for what the user has not given; a method that needs it is told so."""

    def __init__(self, name: str) -> None:
        where = "Distiller(…, total_steps=…)" if name == "total_steps" else f"distiller(inputs, loss, {name}=…)"
        self.advice = f"give it {where}"
        self._message = f"this method needs {name}: {self.advice}"

    def _refuse(self, *_: object) -> NoReturn:
        raise BadInputError(self._message)

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()

    __getitem__ = __rtruediv__ = __len__ = _refuse

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> NoReturn:
        given = (*args, *(kwargs or {}).values())
        next(value for value in given if isinstance(value, cls))._refuse()


def _or_absent(value: Any, name: str) -> Any:
    return _Absent(name) if value is None else value
