"""A long-lived child of a program with a window: requests in, events out, the model kept warm.

Each line on stdin is a request, a JSON object with ``command`` and an ``id`` of the program's choice:

    {"id": 1, "command": "segment", "model": DIR, "arrays": [ARRAY, ...], "out": DIR}
    {"id": 2, "command": "predict", "model": DIR, "input": FILE or DIR, "out": DIR}  as ``crgloco predict``
    {"id": 3, "command": "estimate", "model": DIR, "input": FILE}   memory and work; nothing is done yet
    {"id": 4, "command": "rank", "model": DIR, "input": DIR}        as ``crgloco rank``; "out" keeps results
    {"id": 5, "command": "load", "model": DIR}                      the next prediction then starts at once
    {"id": 6, "command": "unload"}                                  gives the model's memory back
    {"id": 1, "command": "cancel"}                                  ends request 1, waiting or running
    {"command": "shutdown"}                                         as the end of stdin: ends all

Optional: ``quality``, ``device``, ``memory_gb``, ``keep_islands``; instead of ``input`` one case as
``folder`` and ``case``, or its files as ``channels`` with ``name``; for an estimate ``shape`` and ``spacing``
along K, J, I.

Requests about files never import torch: ``probe`` asks a process of its own. A program that wants them
answered while a prediction runs starts a second worker for them:

    cases         folder, predictions             every case: state, revision, confidence
    open          folder, case, out, predictions  image, label and prediction as arrays
    check         folder, unlabelled (folders)    what is wrong before a training
    create        folder, table, channel_names    an empty cases folder
    accept        folder, case, label (ARRAY), provenance; for a new case images (ARRAYs), for a new
                  folder table and channel_names   a label becomes the valid one, the former one is kept
    write_label   label (ARRAY), table, path, scan  a label as NIfTI, NRRD or MetaImage; its axes as in the
                  file of the scan, if that is told
    export_model  model, zip, overwrite           import_model  zip, into
    probe                                         Python, torch, GPUs, memory, packages

An ARRAY is ``{"file": NPY, "geometry": {"shape": [K, J, I], "spacing": [K, J, I], "origin": [x, y, z],
"direction": three rows}}``, LPS as in ``io.volume``. Answers with ``arrays`` map kinds to file names in
``out``. Labels are always the values of their ``labels`` table, confidence and disagreement 0..255.

An event is a line ``@{"event": NAME, ...}``. The first one is ``ready`` with the process id. Every later
event carries the id of its request, whose work begins with ``started`` and which ends with exactly one of
``result``, ``error`` (``type``, ``text``) or ``cancelled``. Neither a request that fails nor a line that
is no request ends the worker; a GPU that fails does, once its request has been answered: this process
could not use it again, the next one can. Requests run one after the other. After the end of stdin the
process is gone within 4 seconds, whatever it is doing.

Libraries that print to stdout, also from C, reach stderr: stdout carries events only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from crgloco import __version__, gpu_faults
from crgloco.errors import Cancelled, CRGLoCoError, OptionError, ResourceError
from crgloco.memory_faults import tells_of_memory
from crgloco.progress import EventLines

# Once stdin has ended, work that does not come to a checkpoint is left to itself no longer than this.
PATIENCE_S = 3.0
MODEL_COMMANDS = ("load", "segment", "predict", "estimate", "rank", "unload")
FILE_COMMANDS = (
    *("accept", "cases", "check", "create", "export_model", "import_model", "open", "probe"),
    "write_label",
)

Answer = dict[str, Any]
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One wish of the program; also the reporter of the work on it.

    Attributes:
        id: Given by the program, a text or a number.
        fields: Everything the program said.
        events: Where answers go.
        stop: Set when the program no longer wants it.
    """

    id: str | int
    fields: Fields
    events: EventLines
    stop: threading.Event = field(default_factory=threading.Event)

    def event(self, kind: str, **fields: Any) -> None:
        """Tell the program something about this request."""
        self.events.event(kind, **{**fields, "id": self.id})

    def check(self) -> None:
        """Raise ``Cancelled`` once the program no longer wants it."""
        if self.stop.is_set():
            raise Cancelled("Cancelled.")


class Worker:
    """Hears requests in one thread and works on them in another, one after the other.

    Args:
        events: Where events go.
        commands: What can be asked for: name -> function of a request.
    """

    def __init__(self, events: EventLines, commands: Mapping[str, Callable[[Request], Answer]]) -> None:
        self._events = events
        self._commands = commands
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._open: dict[str | int, Request] = {}
        self._running: Request | None = None
        self._lost_gpu: ResourceError | None = None
        self._lock = threading.Lock()

    def listen(self, lines: TextIO) -> None:
        """Hear requests until the stream ends or a shutdown is asked for; then everything is cancelled."""
        try:
            for line in lines:
                if line.strip() and not self._hear(line):
                    break
        finally:
            with self._lock:
                for request in self._open.values():
                    request.stop.set()
            self._queue.put(None)

    def announce(self) -> None:
        """Say that requests are heard; before ``listen``, whose refusals are events too."""
        self._events.event("ready", pid=os.getpid(), version=__version__, commands=sorted(self._commands))

    def serve(self) -> None:
        """Work on requests until ``listen`` has ended, or the GPU has failed."""
        while (request := self._queue.get()) is not None:
            with self._lock:
                wanted = self._open.get(request.id) is request
                self._running = request if wanted else None
            if wanted:
                kind, answer = self._outcome(request)
                with self._lock:
                    del self._open[request.id]
                    self._running = None
                request.event(kind, **answer)
            if self._lost_gpu is not None:
                print(f"crgloco: {self._lost_gpu}", file=sys.stderr)
                return

    def _hear(self, line: str) -> bool:
        """Take one line; return whether to go on."""
        try:
            fields = _parse(line)
        except OptionError as error:
            self._refuse(None, str(error))
            return True
        name, number = fields["command"], fields.get("id")
        if name == "shutdown":
            return False
        if not isinstance(number, (str, int)) or isinstance(number, bool):
            self._refuse(None, f"A request needs an id, a text or a whole number; found {number!r}.")
        elif name == "cancel":
            self._cancel(number)
        elif name not in self._commands:
            known = ", ".join([*sorted(self._commands), "cancel", "shutdown"])
            self._refuse(number, f"There is no command {name!r}. Commands: {known}.")
        else:
            self._accept(Request(number, fields, self._events))
        return True

    def _accept(self, request: Request) -> None:
        with self._lock:
            taken = request.id in self._open
            if not taken:
                self._open[request.id] = request
        if taken:
            self._refuse(request.id, f"A request with the id {request.id!r} is still open. Use another id.")
        else:
            self._queue.put(request)

    def _cancel(self, number: str | int) -> None:
        """End a request; one that is not open any more has had its last event already."""
        with self._lock:
            request = self._open.get(number)
            waits = request is not None and request is not self._running
            if waits:
                del self._open[number]
        if request is not None:
            request.stop.set()
            if waits:
                request.event("cancelled")

    def _refuse(self, number: str | int | None, text: str) -> None:
        self._events.event("error", id=number, type="OptionError", text=text)

    def _outcome(self, request: Request) -> tuple[str, Answer]:
        try:
            request.check()
            request.event("started")
            return "result", self._commands[request.fields["command"]](request)
        except Cancelled:
            return "cancelled", {}
        except CRGLoCoError as error:
            return "error", {"type": type(error).__name__, "text": " ".join(str(error).split())}
        except Exception as error:  # noqa: BLE001  (a fault of ours in one request must not end the others)
            traceback.print_exc()
            self._lost_gpu = gpu_faults.in_words(error)
            kind, text = _in_words(error)
            return "error", {"type": kind, "text": text, "traceback": traceback.format_exc()}
        finally:
            give_memory_back()


def main() -> int:
    """Serve requests on stdin until it ends; never returns before."""
    return serve_on_stdin(engine_commands())


def engine_commands() -> dict[str, Callable[[Request], Answer]]:
    """Return what the engine can be asked for; the first request to a model imports torch, not this."""
    held: list[Any] = []

    def ask_model(request: Request) -> Answer:
        from crgloco.requests.models import ModelRequests

        if not held:
            held.append(ModelRequests())
        answer: Answer = held[0].answer(request.fields["command"], request.fields, request)
        return answer

    def ask_files(request: Request) -> Answer:
        from crgloco.requests import files

        return files.COMMANDS[request.fields["command"]](request.fields, request)

    return {**dict.fromkeys(MODEL_COMMANDS, ask_model), **dict.fromkeys(FILE_COMMANDS, ask_files)}


def serve_on_stdin(commands: Mapping[str, Callable[[Request], Answer]]) -> int:
    """Take stdin and stdout, serve until stdin ends, and leave without waiting for any thread."""
    lines, stream = take_streams()
    worker = Worker(EventLines(stream), commands)

    def listen() -> None:
        worker.listen(lines)
        # Needs no lock of Python's: ends us also where work keeps that lock for long.
        faulthandler.dump_traceback_later(PATIENCE_S + 0.5, exit=True)
        time.sleep(PATIENCE_S)
        os._exit(0)

    code = 1
    try:
        with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):  # nobody listens any more
            worker.announce()
            threading.Thread(target=listen, name="requests", daemon=True).start()
            worker.serve()
        code = 0
    except Exception:  # noqa: BLE001  (the process ends here, and must not end silently)
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def take_streams() -> tuple[TextIO, TextIO]:
    """Return stdin and stdout for ourselves alone; everybody else gets an empty stdin and stderr."""
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8", errors="replace")
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return lines, stream


def give_memory_back() -> None:
    """Return GPU memory that no tensor holds to the system, if torch was used at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        with contextlib.suppress(RuntimeError):  # a GPU that failed: its request tells of it
            torch.cuda.empty_cache()


def _parse(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"A line on stdin is no JSON: {line.strip()[:60]!r}."
        raise OptionError(msg) from error
    if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
        msg = f"A request is a JSON object with a command; found {line.strip()[:60]!r}."
        raise OptionError(msg)
    return fields


def _in_words(error: Exception) -> tuple[str, str]:
    """Return kind and text of what no request foresaw."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("crgloco"):
        return "ResourceError", f"The Python package {error.name} is missing. Install it, then try again."
    if tells_of_memory(error):
        text = "The memory does not suffice. Close other programs, or choose a lower quality, and try again."
        return "ResourceError", text
    fault = gpu_faults.in_words(error)
    if fault is not None:
        return "ResourceError", str(fault)
    return "Fault", f"{type(error).__name__}: {error}"
