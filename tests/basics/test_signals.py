"""A signal in the middle of what must not be left half done has its effect afterwards."""

import signal
import threading

import pytest

from flops_fit.basics.signals import held_back


@pytest.fixture(autouse=True)
def handler():
    """Python's own, whatever runs the tests has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_comes_at_the_end_of_the_block():
    done = []

    def block():
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_stands_in_what_comes_after_it():
    def block():
        with held_back():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("half done")

    with pytest.raises(KeyboardInterrupt) as interrupted:
        block()
    assert isinstance(interrupted.value.__context__, ValueError)


def test_nothing_changes_without_a_signal_nor_where_there_are_no_handlers():
    seen = []

    def block():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    block()
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [False, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
