"""The pretended GPU shows the faults that it is there for."""

from __future__ import annotations

import pytest
import torch

from pretended_gpu import pretended_gpu

VALUES = torch.arange(6.0).reshape(2, 3)


def test_what_comes_back_is_there_once_somebody_has_waited():
    with pretended_gpu() as waits:
        there = VALUES.to("cuda") * 2
        waits.clear()
        for begun in (
            lambda: torch.empty(2, 3, pin_memory=True).copy_(there, non_blocking=True),
            lambda: there.to("cpu", non_blocking=True),
        ):
            copied = begun()
            arrived = torch.cuda.Event()
            arrived.record()
            assert not torch.equal(copied, VALUES * 2)
            arrived.synchronize()
            assert torch.equal(copied, VALUES * 2)
        early = torch.cuda.Event()
        early.record()
        late = there.to("cpu", non_blocking=True)
        early.synchronize()
        assert not torch.equal(late, VALUES * 2)
        torch.cuda.synchronize()
        assert torch.equal(late, VALUES * 2)
        assert waits == {"event": 3, "synchronize": 1}


@pytest.mark.parametrize(
    ("send", "name"),
    [
        (lambda there: VALUES.to("cuda"), "_to_copy"),
        (lambda there: VALUES.to("cuda", non_blocking=True), "_to_copy"),
        (lambda there: torch.as_tensor([0, 1], device="cuda"), "_to_copy"),
        (lambda there: there.copy_(VALUES), "copy_"),
        (lambda there: there[[1, 0]], "index"),
        (lambda there: there[torch.tensor([1, 0])], "index"),
        (lambda there: there[there > 1], "index"),
        (lambda there: there.__setitem__([0], there[1:] + 1), "index_put_"),
        (lambda there: there.__setitem__(0, VALUES[0]), "copy_"),
        (lambda there: there.cpu(), "_to_copy"),
        (lambda there: float(there.sum()), "_local_scalar_dense"),
        (lambda there: there.nonzero(), "nonzero"),
        (lambda there: VALUES.pin_memory().to("cuda"), "_to_copy"),
    ],
)
def test_it_is_waited_for_by(send, name):
    with pretended_gpu() as waits:
        there = VALUES.to("cuda")
        waits.clear()
        send(there)
    assert waits == {name: 1}


@pytest.mark.parametrize(
    "send",
    [
        lambda there: VALUES.pin_memory().to("cuda", non_blocking=True),
        lambda there: there.copy_(VALUES.pin_memory(), non_blocking=True),
        lambda there: there[torch.tensor([1, 0]).pin_memory().to("cuda", non_blocking=True)],
        lambda there: there.__setitem__(slice(1), there[1:]),
        lambda there: there.__setitem__((0, 0), 7.0),
        lambda there: torch.where(there > 1, there, 0.0).to(torch.float64),
        lambda there: torch.zeros(3, device="cuda") + there,
    ],
)
def test_it_is_not_waited_for_by(send):
    with pretended_gpu() as waits:
        there = VALUES.to("cuda")
        waits.clear()
        send(there)
    assert not waits


def test_memory_on_its_way_must_stay_as_it_is():
    with pretended_gpu():
        buffer = VALUES.pin_memory()
        buffer.to("cuda", non_blocking=True)
        buffer += 1
        with pytest.raises(RuntimeError, match="on its way"):
            torch.cuda.synchronize()


def test_what_is_begun_is_counted():
    with pretended_gpu() as waits:
        there = VALUES.to("cuda")
        waits.launches.clear()
        (there.T[1:] + 1).clamp_(0)
    assert waits.launches == {"add": 1, "clamp_": 1}
