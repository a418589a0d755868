"""Ctrl-C at chosen steps, within one process."""

import signal
import threading

import pytest
import torch
from torch import nn

from edgekd.progress import SILENT
from edgekd.recipe import Training
from edgekd.training import LabelLoss, train
from edgekd.training.interrupts import deferred_interrupts

STEPS_PER_EPOCH, EPOCHS = 6, 3
SGD = Training(epochs=EPOCHS, batch=32, precision="float32")
ADAMW = Training(epochs=EPOCHS, batch=32, optimizer="adamw", schedule="one-cycle", clip=0.5, ema=0.9)
MOMENTS = [(SGD, step) for step in (0, 5, 8, 17)]  # the first, the last of an epoch, one within, the very last


@pytest.mark.parametrize(("settings", "step"), [*MOMENTS, (ADAMW, 8)])
def test_an_interrupted_step_is_finished_and_nothing_is_lost(tmp_path, blobs, network, recipe_data, settings, step):
    def spoil(model, fraction):
        if fraction >= 0.5:  # so that the best weights are the first epochs'
            nn.init.zeros_(model[6].weight)

    def spoil_and_interrupt(model, fraction):
        spoil(model, fraction)
        if fraction == step / (STEPS_PER_EPOCH * EPOCHS):
            signal.raise_signal(signal.SIGINT)

    def learn(model, folder, on_progress):
        arguments = (model, blobs(), recipe_data, settings, LabelLoss(), folder)
        return train(*arguments, seed=1, key="k", reporter=SILENT, on_progress=on_progress)

    unbroken, resumed = network(), network(seed=9)
    expected = learn(unbroken, tmp_path / "unbroken", spoil)
    with pytest.raises(KeyboardInterrupt):
        learn(network(), tmp_path / "broken", spoil_and_interrupt)
    trained = learn(resumed, tmp_path / "broken", spoil)
    assert trained.history == expected.history
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_second_press_interrupts_at_once_and_the_old_handler_returns():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_may_train_too():
    seen = []

    def work():
        with deferred_interrupts() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_launchers_sigterm_after_ctrl_c_is_no_second_press():
    with deferred_interrupts() as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
