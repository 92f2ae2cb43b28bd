"""Gradient checkpointing for `ghost`: a block's insides are kept for one block at a time.

The first run of a block keeps its input only. On the way back the block is run again, just
before its gradients are worked out, and what its modules were given becomes known again. So a
pass over L blocks holds L states and the insides of one block, for one more way there.

Gradients arrive at the tensors of the first run, whose values are gone; the values come with
the second run, on whose tensors no gradient arrives. `Given` brings the two together, in
whichever order they come. Source: Chen et al., arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Reader = Callable[[Tensor, Tensor], None]


class Given:
    """What a module was given, known now or when its block is run again.

    >>> told = []
    >>> later = Given()
    >>> arrived = later.hook(lambda a, b: told.append((a.item(), b.item())))
    >>> arrived(torch.tensor(2.0))
    >>> told
    []
    >>> later.fill(torch.tensor(1.0))
    >>> told
    [(1.0, 2.0)]
    """

    def __init__(self, a: Tensor | None = None) -> None:
        """Say what it is, to be kept; None: it comes by `fill`, and goes when all have read it."""
        self._a, self._kept = a, a is not None
        self._readers = self._left = 0
        self._waiting: list[Callable[[Tensor], None]] = []

    def hook(self, reader: Reader) -> Callable[[Tensor], None]:
        """Return a gradient hook that tells the reader what was given and what came back."""
        self._readers += 1
        return partial(self._arrived, reader)

    def fill(self, a: Tensor) -> None:
        """Say what it is; whoever waits is told at once."""
        self._a, self._left = a, self._readers
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(self._read())

    def _arrived(self, reader: Reader, b: Tensor) -> None:
        if self._a is None:
            self._waiting.append(lambda a: reader(a, b))
        else:
            reader(self._read(), b)

    def _read(self) -> Tensor:
        a = self._a
        assert a is not None, "read before it was filled, or once too often"
        if not self._kept:
            self._left -= 1
            if not self._left:
                self._a = None
        return a


class _Run:
    """One block's modules in one pass, in the order in which they are called."""

    def __init__(self) -> None:
        self.calls: list[Given] = []
        self.place = 0


class Recomputing:
    """While entered, each block is run under a checkpoint; outside it, hooks work as before.

    Hooks on a block itself fire once, hooks on what is inside twice. Those inside ask `again`
    which run it is, call `given` in the first and `refill` in the second. The random numbers of
    a dropout are the same in both.

    >>> block = nn.Sequential(nn.Linear(1, 1))
    >>> with Recomputing([block]) as runs:
    ...     "forward" in vars(block)
    True
    >>> "forward" in vars(block), runs.again
    (False, False)
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        """Ask for `blocks`; none means that nothing is run again."""
        self._blocks = list(blocks)
        self._now: _Run | None = None
        self.again = False
        """Whether this is a block's second run."""

    def __enter__(self) -> Recomputing:
        """Put each block's forward under a checkpoint."""
        # Some libraries put a forward of their own on a module; it is what is run, and put back.
        self._found = [vars(block).get("forward") for block in self._blocks]
        for block in self._blocks:
            vars(block)["forward"] = partial(self._checkpointed, block.forward)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the blocks back their own."""
        for block, found in zip(self._blocks, self._found, strict=True):
            if found is None:
                del vars(block)["forward"]
            else:
                vars(block)["forward"] = found

    def given(self, a: Tensor) -> Given:
        """Return where a module finds what it was given, in a block's first run or outside it."""
        if self._now is None:
            return Given(a.detach())
        one = Given()
        self._now.calls.append(one)
        return one

    def refill(self, a: Tensor) -> None:
        """Say what the next module is given in a block's second run."""
        now = self._now
        assert now is not None, "outside a block nothing is run again"
        one = now.calls[now.place]
        now.place += 1
        # A norm may be worked out here; the graph of the second run must not hear of it.
        with torch.no_grad():
            one.fill(a.detach())

    def _checkpointed(self, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        run = _Run()

        def both() -> tuple[_Inside, _Inside]:
            return _Inside(self, run, again=False), _Inside(self, run, again=True)

        return checkpoint(partial(forward, **named), *args, use_reentrant=False, context_fn=both)

    def enter(self, run: _Run | None, *, again: bool) -> tuple[_Run | None, bool]:
        """Say which block's run begins, or is gone on with; return the one it interrupts."""
        before = self._now, self.again
        self._now, self.again = run, again
        return before


class _Inside:
    """One run of a block. Whoever goes back twice enters the second one twice."""

    def __init__(self, runs: Recomputing, run: _Run, *, again: bool) -> None:
        self._runs, self._run, self._again = runs, run, again

    def __enter__(self) -> None:
        self._run.place = 0
        self._before = self._runs.enter(self._run, again=self._again)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run, again = self._before
        self._runs.enter(run, again=again)
