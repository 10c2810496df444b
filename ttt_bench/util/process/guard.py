"""Keep the caller's state out of a run, and find what a plugin changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.util.code.error_place import where
from ttt_bench.util.process.code import Code, foreign
from ttt_bench.util.process.settings import KEEP, SETTINGS

ADVICE = "use hooks on the layers of `net`, or contexts that are left again; the change was undone"


@contextmanager
def fixed_process(*, deterministic: bool = False) -> Iterator[None]:
    """Give the process the state of a run within the block, and restore the caller's afterwards.

    Grad mode on; inference mode, autocast, modes, global hooks and denormal flushing off; default
    dtype float32 on the CPU; float32 without TF32; the flags of the backends at their defaults.
    Blocks may be nested. Also a decorator.

    Args:
        deterministic: use kernels that give equal numbers in every run on one kind of device. An
            operation without such a kernel raises a RuntimeError (`named_operation` explains it).
    """
    before = [setting.read() for setting in SETTINGS]
    with ExitStack() as stack:
        stack.callback(_write, before)
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
        for setting in SETTINGS:
            wanted = setting.wanted(deterministic=deterministic)
            if wanted is not KEEP:
                setting.put(wanted)
        _verified.append(Code.now())
        stack.callback(_verified.pop)
        yield


_verified: list[Code] = []
"""One snapshot per open block of `fixed_process`. The harness replaces no code during a run."""


@dataclass(frozen=True)
class _State:
    """The settings and the code of the process at one time."""

    settings: list[Any]
    code: Code

    @classmethod
    def now(cls) -> _State:
        code = _verified[-1] if _verified else Code.now()
        return cls([setting.read() for setting in SETTINGS], code)

    def restore(self) -> list[str]:
        """Undo all changes since; return them in words."""
        found = []
        for setting, before in zip(SETTINGS, self.settings, strict=True):
            now = setting.read()
            if now != before:
                found.append(_in_words(setting.name, before, now))
        if found:
            _write(self.settings)
        for replaced in self.code.replaced():
            replaced.put_back()
            found.append(str(replaced))
        return found


def _write(values: list[Any]) -> None:
    for setting, value in zip(SETTINGS, values, strict=True):
        setting.put(value)


def _in_words(name: str, before: Any, now: Any) -> str:
    plain = (bool, int, str, torch.dtype)
    if isinstance(before, plain) and isinstance(now, plain):
        return f"{name} from {before} to {now}"
    return name


@contextmanager
def watched(who: str) -> Iterator[None]:
    """Restore the state of the process after the block, and refuse code that has changed it.

    Args:
        who: the plugin and what it does, such as "method tent, in `bind`".

    Raises:
        ProcessError: the state has changed; names the changes.
        BenchError: the code calls `sys.exit`.
    """
    state = _State.now()
    try:
        yield
    except Exception as error:
        if changes := state.restore():
            raise _refusal(who, changes) from error
        raise
    except SystemExit as error:
        state.restore()
        raise BenchError(
            f"{who} ends the process with exit code {error.code} ({where(error)}); raise an error "
            "instead"
        ) from error
    except BaseException:
        state.restore()
        raise
    if changes := state.restore():
        raise _refusal(who, changes)


def _refusal(who: str, changes: list[str]) -> ProcessError:
    changed = _listed(changes)
    return ProcessError(f"{who} changes the state of the whole process: {changed}; {ADVICE}")


def refuse_replaced_code() -> None:
    """Raise an error if another package has replaced code of PyTorch or timm in this process.

    Raises:
        ProcessError: it has; names the functions and the packages.
    """
    if found := foreign():
        raise ProcessError(
            f"code in this process has replaced {_listed(found)}, so the numbers would differ from "
            "those of other processes; start a new process, and do not import that package in it"
        )


def _listed(changes: list[str]) -> str:
    return ", ".join(changes[:6]) + (f" and {len(changes) - 6} more" if changes[6:] else "")
