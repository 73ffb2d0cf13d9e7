"""One child process: its lines arrive on the main thread, and nothing here ever waits for it but ``end``."""

import contextlib
import logging
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from CRGLoCoSegmentLib.background.process_tree import killTree, startOptions
from CRGLoCoSegmentLib.background.program import childEnvironment
from CRGLoCoSegmentLib.background.ticker import PERIOD_MS, SharedTicker, Ticker

log = logging.getLogger("CRGLoCoSegment")

WORK_S = 0.02  # of the main thread, at most, at one time
WAITING_LINES = 5000  # more than this, and the child has to wait until the main thread has looked
LONGEST_LINE = 32 * 2**20  # bytes
LONGEST_LOG_LINE = 4000  # characters
STRAGGLERS_S = 1.0  # for what is still in the pipes when the process has ended
KILLING_S = 0.5


class Child:
    """A process with pipes; callbacks run on the main thread.

    Started in a thread: also a slow start, or a virus scanner's, does not stop the main thread.

    Args:
        arguments: Program and arguments.
        onLine: Hears each line of stdout, without its end.
        onLog: Hears each line of stderr; also why the process could not be started.
        onEnd: Hears the exit code, once; ``None`` if the process could not be started.
        ticker: When the main thread looks at what has arrived.
        environment: Instead of ``childEnvironment()``.
        cwd: Working directory.
        stdin: Whether the child gets a pipe; else its stdin is empty from the start.
        output: A file that gets stdout and stderr instead of the callbacks, for a child that may
            outlive us.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        onLine: Callable[[str], None],
        onLog: Callable[[str], None],
        onEnd: Callable[[int | None], None],
        ticker: Ticker | None = None,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bool = True,
        output: Path | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self._callbacks: dict[str, Callable[[Any], None]] = {"line": onLine, "log": onLog, "end": onEnd}
        self._environment = childEnvironment() if environment is None else environment
        self._cwd, self._stdin, self._output = cwd, stdin, output
        self._arrived: queue.Queue[tuple[str, Any]] = queue.Queue(WAITING_LINES)
        self._input: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._unwanted = False  # killed, perhaps before it was started
        self._over = threading.Event()  # the process is gone, whether or not the main thread knows
        self._ended = False  # nobody listens any more: lines are dropped
        self._ticker = ticker if ticker is not None else SharedTicker()
        self._ticker.start(PERIOD_MS, self.poll)
        _thread(self._run)

    @property
    def pid(self) -> int | None:
        """Of the process that we started; a launcher's own child has another one."""
        return None if self._process is None else self._process.pid

    def isRunning(self) -> bool:
        """Whether its end has not been told yet."""
        return not self._ended

    def write(self, line: str) -> None:
        """Send a line; what the child does not read yet waits in a thread."""
        self._input.put(line.encode() + b"\n")

    def closeInput(self) -> None:
        """Tell the child that nothing more will come."""
        self._input.put(None)

    def poll(self) -> None:
        """Deliver what has arrived, for at most ``WORK_S``; the ticker does this by itself."""
        until = time.monotonic() + WORK_S
        while not self._ended and time.monotonic() < until:
            try:
                kind, value = self._arrived.get_nowait()
            except queue.Empty:
                return
            self._deliver(kind, value)

    def kill(self) -> None:
        """End the process and all that it started, at once; ``onEnd`` is told as always."""
        with self._starting:
            self._unwanted = True
        if self._process is not None and not self._over.is_set():
            killTree(self._process)

    def end(self, patience: float = 4.0) -> None:
        """Close its stdin, wait, then kill what is left; no callback is called any more.

        Args:
            patience: Seconds until it is killed; together with the killing less than 5.
        """
        self._ended = True
        self._ticker.stop()
        self.closeInput()
        if not self._over.wait(min(patience, 4.4)):
            self.kill()
            self._over.wait(KILLING_S)

    # --------------------------------------------------------------------------------- the main thread

    def _deliver(self, kind: str, value: Any) -> None:
        if kind == "end":
            self._ended = True
            self._ticker.stop()
        try:
            self._callbacks[kind](value)
        except Exception:
            log.exception("what a child process said could not be followed")

    # --------------------------------------------------------------------------------- other threads

    def _run(self) -> None:
        code: int | None = None
        try:
            process = self._start()
            if process is not None:
                code = self._attend(process)
        except (OSError, ValueError) as error:
            self._put("log", f"{self.arguments[0]}: {error}")
        finally:
            self._over.set()
            self._put("end", code)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        with self._starting, contextlib.ExitStack() as stack:
            if self._unwanted:
                return None
            out: int | IO[bytes] = subprocess.PIPE
            if self._output is not None:
                out = stack.enter_context(self._output.open("wb"))
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.PIPE if self._stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if self._output is not None else subprocess.PIPE,
                env=self._environment,
                cwd=self._cwd,
                **startOptions(),
            )
            return self._process

    def _attend(self, process: "subprocess.Popen[bytes]") -> int:
        """Keep the pipes busy until the process ends; return its exit code."""
        if process.stdin is not None:
            _thread(self._feed, process.stdin)
        readers = [
            _thread(self._read, pipe, kind)
            for pipe, kind in ((process.stdout, "line"), (process.stderr, "log"))
            if pipe is not None
        ]
        code = process.wait()
        self.closeInput()
        deadline = time.monotonic() + STRAGGLERS_S
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if any(reader.is_alive() for reader in readers) or self._unwanted:
            # The launcher is gone, and what it started still holds the pipes: nobody would end that.
            killTree(process)
        return code

    def _feed(self, stdin: IO[bytes]) -> None:
        # A closed pipe tells nothing that the end of the process does not tell.
        with contextlib.suppress(OSError, ValueError):
            while (line := self._input.get()) is not None:
                stdin.write(line)
                stdin.flush()
        with contextlib.suppress(OSError, ValueError):
            stdin.close()

    def _read(self, pipe: IO[bytes], kind: str) -> None:
        lines = _Lines()
        with contextlib.suppress(OSError, ValueError), pipe:
            while chunk := pipe.read1(2**16):  # type: ignore[attr-defined]
                for line in lines.add(chunk):
                    self._put(kind, _log(line) if kind == "log" else line)
        for line in lines.rest():
            self._put(kind, _log(line) if kind == "log" else line)

    def _put(self, kind: str, value: Any) -> None:
        while not self._ended:
            with contextlib.suppress(queue.Full):
                self._arrived.put((kind, value), timeout=0.2)
                return


class _Lines:
    """Whole lines out of pieces; of a line beyond all bounds only the beginning."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def add(self, chunk: bytes) -> list[str]:
        *whole, rest = chunk.split(b"\n")
        lines = []
        for piece in whole:
            self._keep(piece)
            lines.append(self._text())
        self._keep(rest)
        return lines

    def rest(self) -> list[str]:
        return [self._text()] if self._rest else []

    def _keep(self, piece: bytes) -> None:
        self._rest += piece[: max(0, LONGEST_LINE - len(self._rest))]

    def _text(self) -> str:
        text = self._rest.decode("utf-8", errors="replace").rstrip("\r")
        self._rest.clear()
        return text


def _log(line: str) -> str:
    """A progress bar rewrites its line: only its last state is of use."""
    return line.rsplit("\r", 1)[-1][:LONGEST_LOG_LINE]


def _thread(function: Callable[..., None], *values: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=values, name="CRGLoCoSegment child", daemon=True)
    thread.start()
    return thread
